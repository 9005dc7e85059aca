-- What everything else stands on: the application's role, the row of versions, the audit log, public notices.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidegate_app') THEN
        CREATE ROLE tidegate_app LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this cluster was migrated at the same moment
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tidegate_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Kept by the one who applies these files; made here too, so that they can be applied by hand.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON schema_migrations FROM PUBLIC;
GRANT SELECT ON schema_migrations TO tidegate_app;

-- One row; every process reads it every 400 ms and fetches the subjects whose number changed.
CREATE TABLE versions (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    policy      bigint NOT NULL DEFAULT 1,
    bans        bigint NOT NULL DEFAULT 1,
    revocations bigint NOT NULL DEFAULT 1,
    keys        bigint NOT NULL DEFAULT 1,
    ladder      bigint NOT NULL DEFAULT 1,
    workers     bigint NOT NULL DEFAULT 1
);
INSERT INTO versions DEFAULT VALUES;
GRANT SELECT ON versions TO tidegate_app;

-- The last step of a transaction that changed the subject (the row's lock is held until its end).
CREATE FUNCTION versions_bump(p_subject text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    CASE p_subject
        WHEN 'policy' THEN UPDATE versions SET policy = policy + 1;
        WHEN 'bans' THEN UPDATE versions SET bans = bans + 1;
        WHEN 'revocations' THEN UPDATE versions SET revocations = revocations + 1;
        WHEN 'keys' THEN UPDATE versions SET keys = keys + 1;
        WHEN 'ladder' THEN UPDATE versions SET ladder = ladder + 1;
        WHEN 'workers' THEN UPDATE versions SET workers = workers + 1;
        ELSE RAISE EXCEPTION 'versions has no subject %', p_subject USING ERRCODE = '22023';
    END CASE;
END
$$;
GRANT EXECUTE ON FUNCTION versions_bump(text) TO tidegate_app;

-- Appended to, never changed.
CREATE TABLE audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL CHECK (actor <> ''),
    action     text NOT NULL CHECK (action <> ''),
    target     text NOT NULL DEFAULT '',
    reason     text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT '',
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_at ON audit (at);
GRANT SELECT, INSERT ON audit TO tidegate_app;

-- What the public is told outside of incidents. The newest row of a kind is the one that stands.
CREATE TABLE status_notices (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    body       jsonb NOT NULL,
    actor      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX status_notices_newest ON status_notices (kind, id DESC);
GRANT SELECT ON status_notices TO tidegate_app;

CREATE FUNCTION status_publish_notice(p_kind text, p_body jsonb, p_actor text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO status_notices (kind, body, actor) VALUES (p_kind, p_body, p_actor) RETURNING id
$$;
GRANT EXECUTE ON FUNCTION status_publish_notice(text, jsonb, text) TO tidegate_app;
