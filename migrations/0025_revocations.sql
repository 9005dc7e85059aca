-- No revocation is missed or forgotten while a token of its session may be alive.
--
-- A gateway read what was new by time, with 30 s of overlap. What a transaction of more than that had ended (a whole user
-- base signed out, say) became visible with times that had been read past. Each revocation now has the number of
-- versions.revocations that tells of it. That row's lock is held from the number to the commit: when a number can be seen,
-- so can all revocations up to it.

LOCK TABLE sessions IN SHARE ROW EXCLUSIVE MODE; -- in the order of those who log out meanwhile

ALTER TABLE revocations ADD COLUMN version bigint NOT NULL DEFAULT 0; -- 0: of before this column
CREATE INDEX revocations_version ON revocations (version);

-- The one INSERT into revocations, the last step of whatever ends sessions. A transaction takes one number, however often
-- it calls this.
CREATE FUNCTION auth_tell_ended(p_sessions uuid[], p_users uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    me text := pg_current_xact_id()::text;
BEGIN
    IF current_setting('tidegate.told_by', true) IS DISTINCT FROM me THEN
        PERFORM versions_bump('revocations');
        PERFORM set_config('tidegate.told_by', me, true);
    END IF;
    INSERT INTO revocations (session_id, user_id, created_at, version)
        SELECT s, u, clock_timestamp(), v.revocations FROM versions v, unnest(p_sessions, p_users) AS ended (s, u);
END
$$;

-- As before.
CREATE OR REPLACE FUNCTION auth_end_sessions(p_user uuid, p_session uuid, p_scope text, p_reason text)
RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ended uuid[];
BEGIN
    IF p_scope NOT IN ('local', 'global', 'others') THEN
        RAISE EXCEPTION 'no scope %', p_scope USING ERRCODE = '22023';
    END IF;
    WITH chosen AS ( -- locked in order, so that two of these never wait for each other in a ring
        SELECT s.id FROM sessions s
        WHERE s.user_id = p_user AND s.ended_at IS NULL
          AND CASE p_scope WHEN 'local' THEN s.id = p_session WHEN 'others' THEN s.id <> p_session ELSE true END
        ORDER BY s.id FOR UPDATE
    ), gone AS (
        UPDATE sessions s SET ended_at = clock_timestamp(), end_reason = p_reason
        FROM chosen WHERE s.id = chosen.id RETURNING s.id
    )
    SELECT array_agg(id) INTO ended FROM gone;
    IF ended IS NOT NULL THEN
        PERFORM auth_tell_ended(ended, array_fill(p_user, ARRAY[cardinality(ended)]));
        RETURN QUERY SELECT unnest(ended);
    END IF;
END
$$;

-- Sessions that are deleted, with their user or without, end as others do: their access tokens too. Told at the commit:
-- by then all sessions are locked, and nobody waits for one who has the lock of versions.
CREATE FUNCTION auth_session_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM auth_tell_ended(ARRAY[OLD.id], ARRAY[OLD.user_id]);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER session_deleted AFTER DELETE ON sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.ended_at IS NULL AND OLD.expires_at > now() - interval '3 days')
    EXECUTE FUNCTION auth_session_deleted();

-- As before, but for the revocations: they stay for longer than the longest access_ttl and outage_grace together (a day
-- each), whatever is configured now: tokens may be of before a change.
CREATE OR REPLACE FUNCTION auth_purge(p_rows integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    total bigint := 0;
    n bigint;
BEGIN
    DELETE FROM otp_codes WHERE id IN (
        SELECT id FROM otp_codes WHERE expires_at < now() - interval '1 hour'
        LIMIT p_rows FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM otp_numbers o USING (
        SELECT phone_hash, purpose FROM otp_numbers
        WHERE greatest(window_began, last_sent_at) < now() - interval '2 days'
        LIMIT p_rows FOR UPDATE SKIP LOCKED) old
        WHERE o.phone_hash = old.phone_hash AND o.purpose = old.purpose;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM revocations WHERE id IN (
        SELECT id FROM revocations WHERE created_at < now() - interval '3 days'
        LIMIT p_rows FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions WHERE expires_at < now() - interval '30 days'
        LIMIT p_rows FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN total + n;
END
$$;

ANALYZE revocations; -- else reads by version are planned as if many were new
