-- Refused sign-ups: a bounded sample of what decisions were made from, so that another policy can be tried over what
-- this one turned away. A ring: the newest row takes the place of the oldest. No number stands here: a keyed hash, as
-- in identities, and the prefix that limits count.

CREATE TABLE signup_refusals (
    slot           integer PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    stands_for     bigint NOT NULL CHECK (stands_for > 0), -- refusals since the row before of that loop, with this one
    stage          text NOT NULL CHECK (stage IN ('otp', 'verify')),
    policy_version bigint NOT NULL REFERENCES policy_versions (version),
    policy_rule    text NOT NULL,
    reason         text NOT NULL,
    method         text NOT NULL,
    phone_country  text NOT NULL,
    phone_prefix   text NOT NULL,
    phone_type     text NOT NULL,
    phone_virtual  boolean NOT NULL,
    subject_hash   bytea NOT NULL CHECK (length(subject_hash) = 32),
    subject_key    text NOT NULL
);
CREATE INDEX signup_refusals_at ON signup_refusals (at);
GRANT SELECT ON signup_refusals TO tidegate_app;

CREATE SEQUENCE signup_refusals_slot AS integer MINVALUE 0 MAXVALUE 99999 CYCLE OWNED BY signup_refusals.slot;

CREATE FUNCTION signup_keep_refusal(p_stands_for bigint, p_stage text, p_policy bigint, p_rule text, p_reason text,
                                    p_method text, p_country text, p_prefix text, p_type text, p_virtual boolean,
                                    p_subject_hash bytea, p_subject_key text)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO signup_refusals VALUES (nextval('signup_refusals_slot'), clock_timestamp(), p_stands_for, p_stage,
        p_policy, p_rule, p_reason, p_method, p_country, p_prefix, p_type, p_virtual, p_subject_hash, p_subject_key)
    ON CONFLICT (slot) DO UPDATE SET at = excluded.at, stands_for = excluded.stands_for, stage = excluded.stage,
        policy_version = excluded.policy_version, policy_rule = excluded.policy_rule, reason = excluded.reason,
        method = excluded.method, phone_country = excluded.phone_country, phone_prefix = excluded.phone_prefix,
        phone_type = excluded.phone_type, phone_virtual = excluded.phone_virtual,
        subject_hash = excluded.subject_hash, subject_key = excluded.subject_key
$$;
GRANT EXECUTE ON FUNCTION signup_keep_refusal(bigint, text, bigint, text, text, text, text, text, text, boolean, bytea,
                                              text) TO tidegate_app;

-- Called beside auth_purge.
CREATE FUNCTION signup_purge_refusals(p_rows integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM signup_refusals WHERE slot IN (
            SELECT slot FROM signup_refusals WHERE at < now() - interval '30 days'
            LIMIT p_rows FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
GRANT EXECUTE ON FUNCTION signup_purge_refusals(integer) TO tidegate_app;
