"""How does a person's table become a dataset's file?

| module | answers |
| --- | --- |
| `sheet`, `dates` | what stands in the table, and when |
| `findings`, `leak` | what it asks, and which columns models may see |
| `timeline` | how its rows become events and labels |
| `draft`, `template` | which models and expectations to begin with, and the file's text |
"""
