"""How is a model judged, ad hoc, and how is it shown?

| module | answers |
| --- | --- |
| `questions` | which questions a stretch of the log asks, and when their answers come |
| `judge` | what a model would have said, and what that costs it |
| `scores` | how well it did, and whether it is better than another |
| `view`, `charts`, `canvas`, `page` | what a person sees |
| `kept` | where it is kept, and the report |
"""
