import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # modbus_peers, evil_device, pty_pair
