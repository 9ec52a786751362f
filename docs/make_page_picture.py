"""Makes docs/images/agent-page.png: the agent's status page in a headless Chromium while a clone runs.

``python docs/make_page_picture.py`` takes about a minute; server, agent and browser are those of the tests.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import time
from pathlib import Path

PICTURE = Path(__file__).parent / "images" / "agent-page.png"
SIZE = 300 << 20  # bytes in the donor
WINDOW = "1080,1055"
LIMITS = ((5, 12), (4, 14), (6, 9), (3, 13), (5, 15))  # seconds, and MiB/s meanwhile


def main() -> None:
    """A donor, an agent with a history, a clone whose speed changes."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
    from agents import RunningAgent
    from browser import Browser
    from innoclone.sandbox.fill import fill
    from innoclone.server.programs import provide_programs
    from servers import PASSWORD, ServerFactory

    programs = provide_programs(print)
    with tempfile.TemporaryDirectory(prefix="clones-") as name:
        folder = Path(name)
        (folder / "templates").mkdir()
        servers = ServerFactory(programs, folder, folder / "templates")
        try:
            donor = servers()
            fill(donor.connect, SIZE)
            clone = f"CLONE INSTANCE FROM 'clone'@'127.0.0.1':{donor.port} IDENTIFIED BY '{PASSWORD}' DATA DIRECTORY"
            clone = f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{donor.port}'; {clone} = '{folder}"
            with RunningAgent(programs, folder / "state", "--web-port=0") as agent:
                agent.mysql(f"{clone}/monday'")
                agent.mysql(f"{clone}/tuesday'".replace(PASSWORD, "wrong"))
                agent.mysql("SET GLOBAL clone_boot = ON")
                agent.mysql(f"{clone}/wednesday'")
                agent.mysql("SET GLOBAL clone_max_concurrency = 4, GLOBAL clone_enable_compression = ON")
                agent.mysql(f"SET GLOBAL clone_max_data_bandwidth = {LIMITS[0][1]}")
                thread = threading.Thread(target=agent.mysql, args=(f"{clone}/thursday'",))
                thread.start()
                for seconds, limit in LIMITS:
                    agent.mysql(f"SET GLOBAL clone_max_data_bandwidth = {limit}")
                    time.sleep(seconds)
                address = re.findall(r"status page on (\S+)", agent.log.read_text())[0]
                Browser(folder).screenshot(address, PICTURE, f"--window-size={WINDOW}")
                agent.mysql("CLONE INSTANCE STOP")
                thread.join()
        finally:
            servers.close()


if __name__ == "__main__":
    main()
