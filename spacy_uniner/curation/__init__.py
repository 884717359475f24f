"""From an LLM's annotations to a training corpus: agreement, filters, quality against gold, and a page of differences.

`curate.curate` is the whole way; `curate.make_report` and `page.render_page` say what became of it.
"""
