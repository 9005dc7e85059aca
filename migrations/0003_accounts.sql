-- People and how they prove who they are. Numbers are kept as keyed hash (looked up) and ciphertext (shown to
-- their owner); the keys are files outside of the database.

CREATE TABLE users (
    id              uuid PRIMARY KEY,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    last_sign_in_at timestamptz,
    banned_until    timestamptz,
    -- the decision that let this account be made
    policy_version  bigint NOT NULL REFERENCES policy_versions (version),
    policy_rule     text NOT NULL,
    signup_method   text NOT NULL,
    signup_country  text NOT NULL DEFAULT ''
);
CREATE INDEX users_created ON users (created_at);

CREATE TABLE identities (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider        text NOT NULL CHECK (provider IN ('phone')),
    subject_hash    bytea NOT NULL CHECK (length(subject_hash) = 32),
    subject_key     text NOT NULL,    -- id of the look-up key the hash was made with
    subject_enc     bytea NOT NULL,   -- AES-256-GCM, names its own key
    created_at      timestamptz NOT NULL DEFAULT now(),
    last_sign_in_at timestamptz,
    UNIQUE (provider, subject_hash)
);
CREATE INDEX identities_user ON identities (user_id);

GRANT SELECT ON users, identities TO tidegate_app;
GRANT UPDATE (updated_at, last_sign_in_at, banned_until) ON users TO tidegate_app;
GRANT UPDATE (last_sign_in_at) ON identities TO tidegate_app;

-- The only INSERT into users. The caller decided under p_policy; when that is no longer the policy in force the
-- answer is policy_stale (TG001): load the current one and decide again. The share lock keeps the policy in force
-- until the account is committed.
CREATE FUNCTION auth_create_user(p_policy bigint, p_rule text, p_method text, p_country text, p_user uuid,
                                 p_identity uuid, p_subject_hash bytea, p_subject_key text,
                                 p_subject_enc bytea)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
BEGIN
    SELECT c.version INTO STRICT current FROM policy_current c FOR SHARE;
    IF p_policy IS DISTINCT FROM current THEN
        RAISE EXCEPTION 'policy_stale: version % is in force, not %', current, p_policy USING ERRCODE = 'TG001';
    END IF;
    INSERT INTO users (id, policy_version, policy_rule, signup_method, signup_country)
        VALUES (p_user, p_policy, p_rule, p_method, p_country);
    INSERT INTO identities (id, user_id, provider, subject_hash, subject_key, subject_enc)
        VALUES (p_identity, p_user, p_method, p_subject_hash, p_subject_key, p_subject_enc);
END
$$;
GRANT EXECUTE ON FUNCTION auth_create_user(bigint, text, text, text, uuid, uuid, bytea, text, bytea)
    TO tidegate_app;
