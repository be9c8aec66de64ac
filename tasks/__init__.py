"""The stages, in order: what each reads, what it writes, which library it owns.

| stage | module | reads | writes | library |
| --- | --- | --- | --- | --- |
| feed | ``tasks.feed`` | a dataset's stored data | files in the landing folder | Polars |
| ingest | ``tasks.ingest`` | the landing folder | ``files``, ``events``, ``labels``, ``quarantine`` | Great Expectations |
| infer | ``tasks.infer`` | ``events``, published versions | ``features``, ``predictions``, the outbox | River |
| learn: join | ``tasks.learn`` | ``labels``, ``features`` | ``examples``, ``quarantine`` | Polars, Delta Lake |
| learn: mature | ``tasks.learn`` | ``labels``, ``examples`` | ``outcomes`` | Polars, Delta Lake |
| learn: fold | ``tasks.learn`` | ``examples`` | ``checkpoints``, ``definitions`` | River |
| learn: score | ``tasks.learn`` | ``examples``, ``predictions``, ``interventions`` | ``standings``, ``promotions`` | River |
| learn: publish | ``tasks.learn`` | ``checkpoints``, ``standings`` | MLflow, ``checkpoints`` | MLflow |
| replay | ``tasks.replay`` | all tables, files of history | what the stages write; ``what_if`` | River |
| validate | ``tasks.validate`` | ``features``, ``examples``, ``checkpoints`` | a picture, a page, MLflow | River |
| explain | ``tasks.explain`` | all tables | – | River |
| promote, rollback, pin, pause | ``tasks.control`` | ``promotions``, ``checkpoints`` | ``interventions``, as score | – |
| maintain | ``tasks.maintain`` | all tables | the same rows in fewer files; removes what nothing needs | Delta Lake |
| run | ``tasks.run`` | cursors | what the stages write | – |

A task calls one function of ``millrace`` with references (a dataset's name, a model's), never frames or models, and
tells its report in the run's log; those of ``ingest``, ``infer`` and ``score`` are kept as artifacts.
"""
