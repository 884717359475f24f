"""One benchmark for every student: datasets as data, named metrics, systems side by side, and reports."""
