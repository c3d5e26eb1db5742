"""The transports by their schemes. UCX is loaded by those who want it."""


def module(scheme):
    if scheme == "tcp":
        import tcp_link

        return tcp_link
    assert scheme == "ucx", scheme
    import ucx_link

    return ucx_link


def connect(uri):
    return module(uri.scheme).Link.connect(uri.host, uri.port)


def listen(scheme):
    return module(scheme).Listener()
