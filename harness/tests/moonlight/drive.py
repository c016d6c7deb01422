"""Drives the stock client (moonlight-python, which wraps moonlight-common-c) for the tests.

    drive.py HOME ADDRESS PORT COMMAND [ARGUMENT...]

Prints one JSON object a line: {"ok": ...} or {"error": KIND, "message": TEXT}.
"""

import json
import sys

from moonlight_python.discovery import connect_to_server
from moonlight_python.http_client import NvHTTP
from moonlight_python.identity import Identity
from moonlight_python.pairing import pair


def say(**fields):
    print(json.dumps(fields), flush=True)


def attempt(work):
    try:
        say(ok=work())
    except Exception as error:  # what it is, is what the tests look at
        say(error=type(error).__name__, message=str(error))


class Client:
    def __init__(self, home, address, port):
        self.identity = Identity(home)
        self.info = connect_to_server(address, self.identity, port)
        self.http = NvHTTP(
            address, self.identity, http_port=port, https_port=self.info.https_port
        )

    def pair(self, pin):
        pem = pair(self.http, self.identity, pin, self.info)
        return pem.decode()

    def apps(self):
        return [[app.id, app.name] for app in self.http.get_app_list()]

    def info_over_https(self):
        xml = self.http.open_https("serverinfo")
        self.http.verify_response_status(xml)
        info = self.http.parse_server_info(xml)
        return {"name": info.hostname, "paired": info.paired, "game": info.current_game}

    def launch(self, app):
        return self.http.launch_app(
            int(app), 1280, 720, 60, 10000, 1, bytes(16), bytes(16), 196610
        )

    def resume(self):
        return self.http.resume_app(bytes(16), bytes(16), 196610)

    def quit(self):
        self.http.quit_app()
        return True

    def asset(self, app):
        text = self.http.open_https("appasset", f"appid={app}&AssetType=2&AssetIdx=0")
        return len(text)


def main():
    home, address, port, command, *arguments = sys.argv[1:]
    client = Client(home, address, int(port))
    if command == "pair":
        pin, times = arguments[0], int(arguments[1]) if len(arguments) > 1 else 1
        for _ in range(times):
            attempt(lambda: client.pair(pin))
    elif command == "everything-but-pairing":
        for work in (
            client.apps,
            client.info_over_https,
            lambda: client.launch(1),
            client.resume,
            client.quit,
            lambda: client.asset(1),
        ):
            attempt(work)
    else:
        attempt(lambda: getattr(client, command)(*arguments))


main()
