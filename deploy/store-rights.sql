-- The store's account in compose.yaml: the rights of docs/install.md ("Two replicas on one store") and no more.
-- Add DELETE if you set keep under [store].
REVOKE ALL PRIVILEGES, GRANT OPTION FROM session_bot_store@'%';
GRANT SELECT ON session_bot.* TO session_bot_store@'%';
GRANT INSERT ON session_bot.* TO session_bot_store@'%';
GRANT UPDATE ON session_bot.* TO session_bot_store@'%';
GRANT CREATE ON session_bot.* TO session_bot_store@'%';
GRANT INDEX ON session_bot.* TO session_bot_store@'%';
GRANT ALTER ON session_bot.* TO session_bot_store@'%';
