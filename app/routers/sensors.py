from app.controllers.alert_controller import AlertController
from app.controllers.line_controller import Audit, LineController
from app.controllers.sensor_controller import SensorController
from app.controllers.telemetry_controller import TelemetryController
from routemq import Batch, RetryPolicy, Router

router = Router()
router.on("alerts/{device_id}", AlertController.handle_alert)  # one live subscriber
router.on("sensors/{device_id}/data", SensorController.process_data, shared=True, worker_count=3)
router.on(
    "telemetry/bulk", TelemetryController.process_bulk, shared=True, worker_count=5, batch=Batch(max_messages=500)
)

with router.group(prefix="plants/{plant}", middleware=[Audit()]) as plant:
    plant.on("lines/{line:int}/state", LineController.state, shared=True, retry=RetryPolicy(max_attempts=5))
