-- The sign-up policy: every version ever in force, and which one is.

CREATE TABLE policy_versions (
    version    bigint PRIMARY KEY,
    name       text NOT NULL,
    state      text NOT NULL CHECK (state IN ('open', 'restricted', 'closed')),
    document   json NOT NULL, -- json, not jsonb: the text stays as the operator wrote it
    reason     text NOT NULL,
    actor      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON policy_versions TO tidegate_app;

-- One row. Making an account locks it FOR SHARE, changing the policy FOR UPDATE: no account is made under a
-- policy that is no longer in force.
CREATE TABLE policy_current (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint NOT NULL REFERENCES policy_versions
);
GRANT SELECT ON policy_current TO tidegate_app;

INSERT INTO policy_versions (version, name, state, document, reason, actor) VALUES (1, 'open', 'open',
    '{"name":"open","rules":[],"default":{"effect":"allow"},"existing_users":"unaffected"}',
    'first policy', 'migration');
INSERT INTO policy_current (version) VALUES (1);

-- Puts a document in force (checked by the caller, who holds the language), in one transaction with its audit row
-- and the public notice. Returns the new version. TG002: p_if_version is not the current version.
CREATE FUNCTION policy_set(p_name text, p_state text, p_document json, p_notice jsonb, p_reason text,
                           p_actor text, p_request_id text, p_if_version bigint, p_action text)
RETURNS TABLE (version bigint, previous bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    old bigint;
    new bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a policy change wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    SELECT c.version INTO STRICT old FROM policy_current c FOR UPDATE;
    IF p_if_version <> 0 AND p_if_version <> old THEN
        RAISE EXCEPTION 'policy_conflict: version % is in force, not %', old, p_if_version
            USING ERRCODE = 'TG002';
    END IF;
    SELECT max(v.version) + 1 INTO STRICT new FROM policy_versions v;
    INSERT INTO policy_versions (version, name, state, document, reason, actor)
        VALUES (new, p_name, p_state, p_document, p_reason, p_actor);
    UPDATE policy_current SET version = new;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, p_action, 'policy/' || new, p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('name', p_name, 'previous', old));
    PERFORM status_publish_notice('signup_policy', p_notice || jsonb_build_object('policy_version', new), p_actor);
    PERFORM versions_bump('policy');
    RETURN QUERY SELECT new, old;
END
$$;
GRANT EXECUTE ON FUNCTION policy_set(text, text, json, jsonb, text, text, text, bigint, text) TO tidegate_app;
