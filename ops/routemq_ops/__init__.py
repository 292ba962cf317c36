"""What a person on call uses: the doctor, and a live view of the fleet."""
