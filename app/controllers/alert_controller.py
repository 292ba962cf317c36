from typing import Literal

from pydantic import BaseModel

from routemq import Client, Controller


class Alert(BaseModel):
    code: str
    severity: Literal["info", "warning", "critical"] = "warning"


class AlertController(Controller):
    @staticmethod
    async def handle_alert(device_id: str, payload: Alert, client: Client) -> None:
        """Answer the device over MQTT; see it with: mosquitto_sub -t 'replies/#' -v."""
        action = "shut down" if payload.severity == "critical" else "noted"
        client.publish(f"replies/{device_id}", {"code": payload.code, "action": action}, qos=1)
