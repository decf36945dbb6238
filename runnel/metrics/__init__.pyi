from runnel.metrics.worker_metrics import WorkerMetrics as WorkerMetrics

MISSING: str

def hint() -> str: ...
