"""Settings: one immutable snapshot, read from one file and the environment, valid whole or not at all.

This package is the only reader of configuration files and of the environment. ``values`` and ``readers`` know single
values, ``model`` is the table of all settings (``routes``, ``retries``, ``bounds``, ``health``), ``read`` turns a
parsed file into it, ``expand`` fills in ``${...}``, ``check`` compares settings with each other, ``load`` reads the
files, ``table`` prints the README's table.
"""

from sluicegate.config.accounts import Credits, Ledger, Price, PriceTier
from sluicegate.config.allowances import UNLIMITED, Allowance, Budget
from sluicegate.config.bounds import Limits, Timeouts
from sluicegate.config.facts import Facts, check_reload, check_upgrade, facts
from sluicegate.config.health import Health
from sluicegate.config.keys import DEFAULT_KEY_PREFIX, Key, StoredKey, read_stored_key
from sluicegate.config.load import WITHOUT_FILE, ConfigError, load, notifications_wanted, prepare_environment
from sluicegate.config.model import Settings, Tls
from sluicegate.config.read import Problem
from sluicegate.config.retries import Retries
from sluicegate.config.routes import PROFILES, Credential, Model, Mount, Target, Upstream
from sluicegate.config.values import Address, BaseUrl, Secret, Written

__all__ = [
    "DEFAULT_KEY_PREFIX",
    "PROFILES",
    "UNLIMITED",
    "WITHOUT_FILE",
    "Address",
    "Allowance",
    "BaseUrl",
    "Budget",
    "ConfigError",
    "Credential",
    "Credits",
    "Facts",
    "Health",
    "Key",
    "Ledger",
    "Limits",
    "Model",
    "Mount",
    "Price",
    "PriceTier",
    "Problem",
    "Retries",
    "Secret",
    "Settings",
    "StoredKey",
    "Target",
    "Timeouts",
    "Tls",
    "Upstream",
    "Written",
    "check_reload",
    "check_upgrade",
    "facts",
    "load",
    "notifications_wanted",
    "prepare_environment",
    "read_stored_key",
]
