"""`routemq manifests`: what deploys an application, made of its routes."""
