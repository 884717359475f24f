"""The teacher: large language models as spaCy-llm asks them, and what becomes of their replies."""
