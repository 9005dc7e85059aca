-- How suspicious requests for codes were, and why: what `tidectl explain` tells of one. A ring of 100,000 rows: the
-- newest takes the place of the oldest. No number and no address stands here: keyed hashes, as in identities.

CREATE TABLE signup_scores (
    slot           integer PRIMARY KEY,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    request_id     text NOT NULL,
    outcome        text NOT NULL CHECK (outcome IN ('allow', 'challenge', 'deny')), -- what was done
    verdict        text NOT NULL CHECK (verdict IN ('allow', 'challenge', 'challenge_hard', 'deny')), -- what the score says
    score          integer NOT NULL CHECK (score >= 0),
    blind          boolean NOT NULL, -- without what Redis counts
    signals        jsonb NOT NULL,   -- [{"signal": ..., "points": ..., "seen": ..., "limit": ...}]: they add up to score
    may_create     boolean NOT NULL,
    policy_version bigint NOT NULL REFERENCES policy_versions (version),
    policy_rule    text NOT NULL,
    ip_country     text NOT NULL,
    subject_hash   bytea NOT NULL CHECK (length(subject_hash) = 32),
    subject_key    text NOT NULL
);
CREATE INDEX signup_scores_request ON signup_scores (request_id);
CREATE INDEX signup_scores_at ON signup_scores (at);
GRANT SELECT ON signup_scores TO tidegate_app;

CREATE SEQUENCE signup_scores_slot AS integer MINVALUE 0 MAXVALUE 99999 CYCLE OWNED BY signup_scores.slot;

CREATE FUNCTION signup_keep_score(p_request_id text, p_outcome text, p_verdict text, p_score bigint, p_blind boolean,
                                  p_signals jsonb, p_may_create boolean, p_policy bigint, p_rule text, p_country text,
                                  p_subject_hash bytea, p_subject_key text)
RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO signup_scores VALUES (nextval('signup_scores_slot'), clock_timestamp(), p_request_id, p_outcome, p_verdict,
        p_score, p_blind, p_signals, p_may_create, p_policy, p_rule, p_country, p_subject_hash, p_subject_key)
    ON CONFLICT (slot) DO UPDATE SET at = excluded.at, request_id = excluded.request_id, outcome = excluded.outcome,
        verdict = excluded.verdict, score = excluded.score, blind = excluded.blind, signals = excluded.signals,
        may_create = excluded.may_create, policy_version = excluded.policy_version, policy_rule = excluded.policy_rule,
        ip_country = excluded.ip_country, subject_hash = excluded.subject_hash, subject_key = excluded.subject_key
$$;
GRANT EXECUTE ON FUNCTION signup_keep_score(text, text, text, bigint, boolean, jsonb, boolean, bigint, text, text, bytea,
                                            text) TO tidegate_app;

-- Called beside auth_purge.
CREATE FUNCTION signup_purge_scores(p_rows integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM signup_scores WHERE slot IN (
            SELECT slot FROM signup_scores WHERE at < now() - interval '30 days'
            LIMIT p_rows FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
GRANT EXECUTE ON FUNCTION signup_purge_scores(integer) TO tidegate_app;
