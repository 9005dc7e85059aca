-- Attempts to sign up, as they were decided: those let in each, those refused as a bounded sample, with the facts of the
-- decision, so that another policy can be tried over them. Takes the place of signup_refusals. A ring: the newest row
-- takes the place of the oldest. No number stands here: a keyed hash, as in identities, and the prefix that limits count.

CREATE TABLE signup_attempts (
    slot           integer PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    stands_for     bigint NOT NULL CHECK (stands_for > 0), -- attempts like it since the row before of that loop, with this one
    stage          text NOT NULL CHECK (stage IN ('otp', 'verify')),
    effect         text NOT NULL CHECK (effect IN ('allow', 'deny', 'waitlist')),
    policy_version bigint NOT NULL REFERENCES policy_versions (version),
    policy_rule    text NOT NULL,
    reason         text NOT NULL, -- '': allowed
    facts          json NOT NULL, -- {"method": "phone", "phone_country": "CN", "phone_prefix": "+861380013", ...}
    subject_hash   bytea NOT NULL CHECK (length(subject_hash) = 32),
    subject_key    text NOT NULL
);
CREATE INDEX signup_attempts_at ON signup_attempts (at, slot);
GRANT SELECT ON signup_attempts TO tidegate_app;

CREATE SEQUENCE signup_attempts_slot AS integer MINVALUE 0 MAXVALUE 999999 CYCLE OWNED BY signup_attempts.slot;

CREATE FUNCTION signup_keep_attempt(p_stands_for bigint, p_stage text, p_effect text, p_policy bigint, p_rule text,
                                    p_reason text, p_facts json, p_subject_hash bytea, p_subject_key text)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO signup_attempts VALUES (nextval('signup_attempts_slot'), clock_timestamp(), p_stands_for, p_stage,
        p_effect, p_policy, p_rule, p_reason, p_facts, p_subject_hash, p_subject_key)
    ON CONFLICT (slot) DO UPDATE SET at = excluded.at, stands_for = excluded.stands_for, stage = excluded.stage,
        effect = excluded.effect, policy_version = excluded.policy_version, policy_rule = excluded.policy_rule,
        reason = excluded.reason, facts = excluded.facts, subject_hash = excluded.subject_hash,
        subject_key = excluded.subject_key
$$;
GRANT EXECUTE ON FUNCTION signup_keep_attempt(bigint, text, text, bigint, text, text, json, bytea, text) TO tidegate_app;

-- As before, for programs of before.
CREATE OR REPLACE FUNCTION signup_keep_refusal(p_stands_for bigint, p_stage text, p_policy bigint, p_rule text,
                                               p_reason text, p_method text, p_country text, p_prefix text, p_type text,
                                               p_virtual boolean, p_subject_hash bytea, p_subject_key text)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT signup_keep_attempt(p_stands_for, p_stage, 'deny', p_policy, p_rule, p_reason,
        json_build_object('method', p_method, 'phone_country', p_country, 'phone_prefix', p_prefix, 'phone_type', p_type,
                          'phone_virtual', p_virtual), p_subject_hash, p_subject_key)
$$;

INSERT INTO signup_attempts
    SELECT slot, at, stands_for, stage, 'deny', policy_version, policy_rule, reason,
           json_build_object('method', method, 'phone_country', phone_country, 'phone_prefix', phone_prefix, 'phone_type',
                             phone_type, 'phone_virtual', phone_virtual), subject_hash, subject_key
    FROM signup_refusals;
SELECT setval('signup_attempts_slot', greatest(1, (SELECT max(slot) FROM signup_attempts)));

CREATE OR REPLACE FUNCTION signup_purge_refusals(p_rows integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM signup_attempts WHERE slot IN (
            SELECT slot FROM signup_attempts WHERE at < now() - interval '30 days'
            LIMIT p_rows FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

DROP TABLE signup_refusals;
