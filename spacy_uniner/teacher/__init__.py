"""The teacher: large language models that annotate text, by way of spacy-llm."""
