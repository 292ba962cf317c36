"""What `routemq dev` runs on one machine: the embedded servers, the supervisor and the reload on change."""
