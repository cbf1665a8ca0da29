"""lookup.py NAME…: what Python says of each, a line of "NAME ADDRESS…", or "NAME !ERROR"."""
import socket
import sys

for name in sys.argv[1:]:
    try:
        found = [each[4][0] for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
        print(name, *found)
    except socket.gaierror as error:
        is_absent = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        print(name, '!absent' if is_absent else f'!{error.strerror}')
