"""`ucx:` in the shape of the C++ example: active message 0 for metadata, tagged messages for everything else. Through ctypes."""

import collections
import ctypes as c
import os
import socket
import struct
import time

import pyarrow as pa

DEADLINE = 20
TAG, WAKEUP, AM = 1, 16, 64
INPROGRESS = 1
RNDV = 131072
WHOLE = 1
PEER_FAILURES = 1
LAST_ERROR = 2**64 - 100


class Params(c.Structure):
    _fields_ = [("field_mask", c.c_uint64), ("features", c.c_uint64), ("room", c.c_uint64 * 16)]


class WorkerParams(c.Structure):
    _fields_ = [("field_mask", c.c_uint64), ("thread_mode", c.c_uint32), ("room", c.c_uint64 * 32)]


class SockAddr(c.Structure):
    _fields_ = [("addr", c.c_void_p), ("length", c.c_uint32)]


class Handler(c.Structure):
    _fields_ = [("callback", c.c_void_p), ("argument", c.c_void_p)]


class EpParams(c.Structure):
    _fields_ = [("field_mask", c.c_uint64), ("address", c.c_void_p), ("err_mode", c.c_uint32), ("err_handler", Handler),
                ("user_data", c.c_void_p), ("flags", c.c_uint32), ("sockaddr", SockAddr), ("conn_request", c.c_void_p), ("room", c.c_uint64 * 8)]


class ListenerParams(c.Structure):
    _fields_ = [("field_mask", c.c_uint64), ("sockaddr", SockAddr), ("accept", Handler), ("request", Handler)]


class ListenerAttributes(c.Structure):
    _fields_ = [("field_mask", c.c_uint64), ("sockaddr", c.c_uint64 * 16)]


class RequestParams(c.Structure):
    _fields_ = [("mask", c.c_uint32), ("flags", c.c_uint32), ("room", c.c_uint64 * 16)]


class TagInfo(c.Structure):
    _fields_ = [("tag", c.c_uint64), ("length", c.c_size_t)]


class AmHandler(c.Structure):
    _fields_ = [("field_mask", c.c_uint64), ("id", c.c_uint32), ("flags", c.c_uint32), ("callback", c.c_void_p), ("argument", c.c_void_p)]


class AmParams(c.Structure):
    _fields_ = [("attributes", c.c_uint64), ("reply", c.c_void_p)]


AmCallback = c.CFUNCTYPE(c.c_int8, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p, c.c_size_t, c.POINTER(AmParams))
ErrorCallback = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p, c.c_int8)
RequestCallback = c.CFUNCTYPE(None, c.c_void_p, c.c_void_p)


def load():
    os.environ.setdefault("UCX_HANDLE_ERRORS", "none")
    os.environ.setdefault("UCX_LOG_LEVEL", "fatal")
    named = os.environ.get("ARROWLANE_UCX_LIBRARY", "libucp.so.0")
    library = c.CDLL(os.path.join(named, "libucp.so.0") if os.path.isdir(named) else named)
    p, u64, size, void = c.c_void_p, c.c_uint64, c.c_size_t, None
    for name, result, arguments in (
        ("ucp_init_version", c.c_int8, [c.c_uint, c.c_uint, p, p, p]),
        ("ucp_worker_create", c.c_int8, [p, p, p]),
        ("ucp_worker_progress", c.c_uint, [p]),
        ("ucp_worker_destroy", void, [p]),
        ("ucp_worker_set_am_recv_handler", c.c_int8, [p, p]),
        ("ucp_listener_create", c.c_int8, [p, p, p]),
        ("ucp_listener_query", c.c_int8, [p, p]),
        ("ucp_listener_destroy", void, [p]),
        ("ucp_ep_create", c.c_int8, [p, p, p]),
        ("ucp_ep_close_nbx", p, [p, p]),
        ("ucp_ep_flush_nbx", p, [p, p]),
        ("ucp_tag_send_nbx", p, [p, p, size, u64, p]),
        ("ucp_tag_send_sync_nbx", p, [p, p, size, u64, p]),
        ("ucp_tag_probe_nb", p, [p, u64, u64, c.c_int, p]),
        ("ucp_tag_msg_recv_nbx", p, [p, p, size, p, p]),
        ("ucp_am_send_nbx", p, [p, c.c_uint, p, size, p, size, p]),
        ("ucp_am_recv_data_nbx", p, [p, p, p, size, p]),
        ("ucp_request_check_status", c.c_int8, [p]),
        ("ucp_request_free", void, [p]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


UCP = load()


class UcxError(Exception):
    pass


def check(status):
    if status < 0:
        raise UcxError(f"UCX status {status}")


CONTEXT = c.c_void_p()
check(UCP.ucp_init_version(1, 13, c.byref(Params(field_mask=1, features=TAG | AM | WAKEUP)), None, c.byref(CONTEXT)))
WORKERS = []


def worker():
    made = c.c_void_p()
    check(UCP.ucp_worker_create(CONTEXT, c.byref(WorkerParams(field_mask=1)), c.byref(made)))
    WORKERS.append(made)
    return made


def progress():
    return sum(UCP.ucp_worker_progress(one) for one in WORKERS)


def until(found, what):
    """Drives every worker of this process until there is something."""
    deadline = time.monotonic() + DEADLINE
    while True:
        result = found()
        if result is not None:
            return result
        if progress() == 0:
            if time.monotonic() > deadline:
                raise UcxError(f"never happened: {what}")
            time.sleep(0.0002)


def address(host, port):
    raw = struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)
    buffer = c.create_string_buffer(raw, 16)
    return buffer, SockAddr(c.cast(buffer, c.c_void_p), 16)


class Link:
    """One connection with a worker of its own. `untagged` and `tagged` wait; both raise EOFError when the connection is over."""

    def __init__(self, **to):
        self.worker = worker()
        self.metadata = collections.deque()
        self.failure = None
        self.pending = []
        self.closed = False
        self.on_error = ErrorCallback(self.failed)
        self.on_metadata = AmCallback(self.arrived)
        handler = AmHandler(field_mask=7, id=0, flags=WHOLE, callback=c.cast(self.on_metadata, c.c_void_p))
        check(UCP.ucp_worker_set_am_recv_handler(self.worker, c.byref(handler)))
        params = EpParams(field_mask=2 | 4, err_mode=PEER_FAILURES, err_handler=Handler(c.cast(self.on_error, c.c_void_p), None))
        for name, value in to.items():
            setattr(params, name, value)
        params.field_mask |= 64 if "conn_request" in to else 16 | 32
        self.ep = c.c_void_p()
        check(UCP.ucp_ep_create(self.worker, c.byref(params), c.byref(self.ep)))

    @staticmethod
    def connect(host, port):
        keep, there = address(host, port)
        link = Link(sockaddr=there, flags=1)
        del keep
        return link

    def failed(self, _argument, _ep, status):
        self.failure = status

    def arrived(self, _argument, _header, header_length, data, length, params):
        assert header_length == 0, "metadata has a header"
        if params.contents.attributes & RNDV:
            self.metadata.append((data, length))
            return INPROGRESS
        self.metadata.append(c.string_at(data, length))
        return 0

    def start(self, function, *arguments, keep=None):
        request = function(*arguments, c.byref(RequestParams()))
        if request is not None and request >= LAST_ERROR:
            self.failure = request - 2**64
            raise EOFError(f"UCX status {self.failure}")
        if request is not None:
            self.pending.append((request, keep))

    def settled(self):
        left = []
        for request, keep in self.pending:
            status = UCP.ucp_request_check_status(request)
            if status == INPROGRESS:
                left.append((request, keep))
            else:
                UCP.ucp_request_free(request)
                if status < 0:
                    self.failure = self.failure or status
        self.pending = left
        return None if left else True

    def flush(self):
        self.start(UCP.ucp_ep_flush_nbx, self.ep)
        until(self.settled, "what was sent arrives")
        if self.failure is not None:
            raise EOFError(f"UCX status {self.failure}")

    def send_untagged(self, message):
        buffer = pa.py_buffer(message)
        self.start(UCP.ucp_am_send_nbx, self.ep, 0, None, 0, buffer.address, buffer.size, keep=buffer)

    def send_tagged(self, tag, message):
        buffer = pa.py_buffer(message)
        self.start(UCP.ucp_tag_send_nbx, self.ep, buffer.address, buffer.size, tag, keep=buffer)

    def send_awaited(self, tag, message):
        """Returns when the other side has taken it; drives no other connection meanwhile, as the example's client."""
        buffer = pa.py_buffer(message)
        self.start(UCP.ucp_tag_send_sync_nbx, self.ep, buffer.address, buffer.size, tag, keep=buffer)
        others = [one for one in WORKERS if one is not self.worker]
        WORKERS[:] = [self.worker]
        until(self.settled, "what was sent is taken")
        WORKERS.extend(others)
        if self.failure is not None:
            raise EOFError(f"UCX status {self.failure}")

    def over(self):
        if self.failure is not None:
            raise EOFError(f"UCX status {self.failure}")

    def untagged(self):
        def found():
            if not self.metadata:
                return self.over()
            return self.metadata.popleft()

        message = until(found, "metadata arrives")
        if isinstance(message, bytes):
            return message
        data, length = message
        buffer = pa.allocate_buffer(length)
        self.start(UCP.ucp_am_recv_data_nbx, self.worker, data, buffer.address, length, keep=buffer)
        until(self.settled, "metadata that was announced arrives")
        return buffer.to_pybytes()

    def probe(self, tag, mask):
        info = TagInfo()
        message = UCP.ucp_tag_probe_nb(self.worker, tag, mask, 1, c.byref(info))
        if message is None:
            return None
        buffer = pa.allocate_buffer(info.length)
        self.start(UCP.ucp_tag_msg_recv_nbx, self.worker, buffer.address, info.length, message, keep=buffer)
        until(self.settled, "a body arrives")
        return info.tag, buffer

    def tagged(self, tag=0, mask=0):
        def found():
            message = self.probe(tag, mask)
            return self.over() if message is None else message

        return until(found, "a tagged message arrives")

    def ended(self):
        """Waits until the other side ends."""
        if not self.closed:
            until(lambda: True if self.failure is not None else None, "the other side ends")

    def close(self):
        if not self.closed:
            self.closed = True
            try:
                self.start(UCP.ucp_ep_close_nbx, self.ep)
                until(self.settled, "the connection closes")
            except EOFError:
                pass
            WORKERS.remove(self.worker)
            UCP.ucp_worker_destroy(self.worker)


class Listener:
    def __init__(self):
        self.worker = worker()
        self.requests = collections.deque()
        self.on_request = RequestCallback(lambda request, _argument: self.requests.append(request))
        keep, here = address("127.0.0.1", 0)
        params = ListenerParams(field_mask=1 | 4, sockaddr=here, request=Handler(c.cast(self.on_request, c.c_void_p), None))
        self.listener = c.c_void_p()
        check(UCP.ucp_listener_create(self.worker, c.byref(params), c.byref(self.listener)))
        del keep
        attributes = ListenerAttributes(field_mask=1)
        check(UCP.ucp_listener_query(self.listener, c.byref(attributes)))
        self.port = struct.unpack(">H", bytes(attributes.sockaddr)[2:4])[0]

    def asked(self, count):
        """So many connections, each with what it says first. One may come when the other was heard only, or say nothing before both stand."""
        links, heard = [], []

        def all_heard():
            while self.requests:
                links.append(Link(conn_request=self.requests.popleft()))
            for link in list(links):
                message = link.probe(0, 0)
                if message is not None:
                    links.remove(link)
                    heard.append((link, *message))
            return heard if len(heard) == count else None

        return until(all_heard, f"{count} connections that ask")

    def close(self):
        UCP.ucp_listener_destroy(self.listener)
        WORKERS.remove(self.worker)
        UCP.ucp_worker_destroy(self.worker)
