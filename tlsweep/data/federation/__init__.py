"""Divides the images of a task among the clients of a federation."""

from tlsweep.data.federation.clients import Clients, clients_of, federation_in

__all__ = ["Clients", "clients_of", "federation_in"]
