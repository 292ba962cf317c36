"""The controller of one who migrates."""

from app.controllers.sensor_controller import SensorController
