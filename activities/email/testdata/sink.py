"""A real SMTP server (Debian's python3-aiosmtpd) that keeps what it gets, and does what its JSON argument says.

It prints one JSON object a line: first its port, then each session and each message. It ends with its standard input.
"""
import asyncio
import base64
import json
import os
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])


def say(**what):
    print(json.dumps(what), flush=True)


def once(key):
    """What the option asks for, the first time it is asked for."""
    return options.pop(key, None)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answer = options.get("rcpt", {}).get(address)
        if answer:
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        answer = once("mail")
        if answer:
            return answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        answer = once("data")
        if answer:
            return answer
        if options.get("slow") == "data":
            await asyncio.sleep(3600)
        say(message=base64.b64encode(envelope.content).decode(), sender=envelope.mail_from, to=envelope.rcpt_tos,
            tls=session.ssl is not None or "implicit" in options, login=session.login_data and session.login_data.decode())
        if once("lose_answer"):
            server.transport.abort()
            await asyncio.sleep(3600)
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    login, password = data.login.decode(), data.password.decode()
    say(auth=mechanism)
    if {"user": login, "password": password} == options["auth"]:
        return AuthResult(success=True, auth_data=data)
    sent = base64.b64encode(b"\0" + data.login + b"\0" + data.password).decode()
    return AuthResult(success=False, handled=False, message="535 5.7.8 %s is not the password, nor is %s or %s" % (
        password, sent, base64.b64encode(data.password).decode()))


class Server(SMTP):
    async def _handle_client(self):
        say(session=True)
        greeting = once("greeting")
        if greeting == "drop":
            self.transport.abort()
            return
        if greeting:
            await self.push(greeting)
            self.transport.close()
            return
        if options.get("slow") == "greeting":
            await asyncio.sleep(3600)
        await super()._handle_client()

    async def smtp_QUIT(self, arg):
        if once("lose_quit"):
            self.transport.abort()
            return
        await super().smtp_QUIT(arg)


def context():
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(options["cert"], options["key"])
    return c


async def main():
    settings = {"hostname": "sink.test"}
    if "auth" in options:
        settings.update(authenticator=authenticate, auth_required=True, auth_require_tls=not options.get("auth_in_the_clear"))
        settings.update(auth_exclude_mechanism=options.get("auth_exclude", []))
    if "starttls" in options:
        settings.update(tls_context=context(), require_starttls=True)
    loop = asyncio.get_running_loop()
    implicit = context() if "implicit" in options else None
    server = await loop.create_server(lambda: Server(Handler(), loop=loop, **settings), "127.0.0.1", 0, ssl=implicit)
    say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


def until_unused():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=until_unused, daemon=True).start()
asyncio.run(main())
