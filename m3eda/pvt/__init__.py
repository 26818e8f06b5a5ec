"""Process, voltage and temperature: how a sizing that holds at every corner is found."""
