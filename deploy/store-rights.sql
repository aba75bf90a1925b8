-- The store's account in compose.yaml: the rights of docs/install.md ("Two replicas on one store") and no more.
-- Add DELETE if you set keep under [store].
REVOKE ALL PRIVILEGES, GRANT OPTION FROM session_bot@'%';
GRANT SELECT ON session_bot.* TO session_bot@'%';
GRANT INSERT ON session_bot.* TO session_bot@'%';
GRANT UPDATE ON session_bot.* TO session_bot@'%';
GRANT CREATE ON session_bot.* TO session_bot@'%';
GRANT INDEX ON session_bot.* TO session_bot@'%';
GRANT ALTER ON session_bot.* TO session_bot@'%';
