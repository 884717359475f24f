"""The recipe of UniversalNER: from texts and a teacher's replies to what a generator is tuned with."""
