"""The configuration contract: environment, ``session-bot.toml`` and a secrets directory.

``SESSION_BOT_CONFIG`` names the file, every value of which can be given as
``SESSION_BOT__SECTION__KEY``; ``SESSION_BOT_SECRETS`` names a directory whose files are called like
that (or like the ``SLACK_…`` variables) and hold a value each. Environment beats secrets beats file.
"""

from __future__ import annotations

from bot.settings.loading import Loaded, load
from bot.settings.sections import AccessRuleSettings, DataSourceSettings, Settings, SlackSettings
from bot.settings.values import ListenAddress

__all__ = ["AccessRuleSettings", "DataSourceSettings", "ListenAddress", "Loaded", "Settings", "SlackSettings", "load"]
