from app.controllers.flaky_controller import FlakyController
from routemq import Router

router = Router()
router.on("flaky/{job_id}", FlakyController.run, shared=True, worker_count=2)
