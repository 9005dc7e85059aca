-- Bans of users act on tokens, whoever writes banned_until; and everybody is signed out by one number.
--
-- A ban ends the user's sessions, so that every gateway refuses their access tokens. Sessions that end, by whatever statement,
-- are now told of at the commit, as deleted ones are: by then all of them are locked, and nobody waits for one who has the
-- lock of versions.
--
-- versions.everybody is the era: sessions are of the one that they began in, access tokens of their session's, and those of an
-- earlier era than the current one have ended. No clocks are compared. A session that began beside the change, and did not
-- see it, has ended with the others.

LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE; -- in the order of those who sign in and out meanwhile
CREATE TEMP TABLE banned_users ON COMMIT DROP AS -- looked for before anybody who reads waits
    SELECT u.id FROM users u WHERE u.banned_until > clock_timestamp();
LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE;

ALTER TABLE versions ADD COLUMN everybody bigint NOT NULL DEFAULT 0; -- 0: never; else Unix milliseconds, about

CREATE FUNCTION auth_era() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT v.everybody FROM versions v
$$;
GRANT EXECUTE ON FUNCTION auth_era() TO tidegate_app;

ALTER TABLE sessions ADD COLUMN era bigint NOT NULL DEFAULT 0;
ALTER TABLE sessions ALTER COLUMN era SET DEFAULT auth_era(); -- also for programs that do not know it

-- Signs everybody out: the new era. A time, so that a failover that loses one makes no number come twice.
CREATE FUNCTION auth_end_everybody() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE versions v SET everybody = greatest(v.everybody + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
        RETURNING v.everybody
$$;
GRANT EXECUTE ON FUNCTION auth_end_everybody() TO tidegate_app;

-- As before, but what a new era has ended is passed over, and revocations are told by the trigger below.
CREATE OR REPLACE FUNCTION auth_end_sessions(p_user uuid, p_session uuid, p_scope text, p_reason text)
RETURNS SETOF uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF p_scope NOT IN ('local', 'global', 'others') THEN
        RAISE EXCEPTION 'no scope %', p_scope USING ERRCODE = '22023';
    END IF;
    RETURN QUERY WITH chosen AS ( -- locked in order, so that two of these never wait for each other in a ring
        SELECT s.id FROM sessions s
        WHERE s.user_id = p_user AND s.ended_at IS NULL AND s.era >= auth_era()
          AND CASE p_scope WHEN 'local' THEN s.id = p_session WHEN 'others' THEN s.id <> p_session ELSE true END
        ORDER BY s.id FOR UPDATE
    )
    UPDATE sessions s SET ended_at = clock_timestamp(), end_reason = p_reason
        FROM chosen WHERE s.id = chosen.id RETURNING s.id;
END
$$;

CREATE FUNCTION auth_session_ended() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM auth_tell_ended(ARRAY[NEW.id], ARRAY[NEW.user_id]);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER session_ended AFTER UPDATE OF ended_at ON sessions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL)
    EXECUTE FUNCTION auth_session_ended();

-- Who signs in writes the user's row first (last_sign_in_at), and looks at banned_until after that. So a ban either waits for
-- the sign-in and ends its session, or is seen by it.
CREATE FUNCTION auth_user_banned() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM auth_end_sessions(NEW.id, NULL, 'global', 'banned');
    RETURN NULL;
END
$$;
CREATE TRIGGER user_banned AFTER UPDATE OF banned_until ON users FOR EACH ROW
    WHEN (NEW.banned_until > clock_timestamp() AND NEW.banned_until IS DISTINCT FROM OLD.banned_until)
    EXECUTE FUNCTION auth_user_banned();

-- Who is banned now has no session: a ban by plain SQL was none to their access tokens until now.
DO $$
BEGIN
    PERFORM auth_end_sessions(b.id, NULL, 'global', 'banned') FROM banned_users b;
END
$$;

-- As before, but a banned user is told so by the refresh token of a session that the ban has ended, and sessions of an
-- earlier era have ended.
CREATE OR REPLACE FUNCTION auth_refresh(p_session uuid, p_counter bigint, p_grace interval, p_idle interval)
RETURNS TABLE (outcome text, user_id uuid, counter bigint, method text, began bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    f refresh_families%ROWTYPE;
    s sessions%ROWTYPE;
    banned timestamptz;
    t timestamptz;
BEGIN
    SELECT * INTO f FROM refresh_families r WHERE r.session_id = p_session FOR UPDATE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'unknown', NULL::uuid, 0::bigint, '', 0::bigint;
        RETURN;
    END IF;
    t := clock_timestamp();
    SELECT * INTO STRICT s FROM sessions x WHERE x.id = p_session FOR UPDATE;
    SELECT u.banned_until INTO STRICT banned FROM users u WHERE u.id = s.user_id;
    outcome := CASE
        WHEN banned > t THEN 'banned'
        WHEN s.ended_at IS NOT NULL OR s.era < auth_era() THEN 'ended'
        WHEN t >= s.expires_at OR t >= s.refreshed_at + p_idle THEN 'expired'
        WHEN p_counter > f.counter THEN 'unknown' -- signed by us, yet never issued: an older copy of the database
        WHEN p_counter = f.counter THEN 'rotate'
        WHEN p_counter = f.counter - 1 AND (NOT f.is_confirmed OR t <= f.rotated_at + p_grace) THEN 'ok'
        ELSE 'reused'
    END;
    IF outcome = 'rotate' THEN
        UPDATE refresh_families r SET counter = r.counter + 1, rotated_at = t, is_confirmed = false
            WHERE r.session_id = p_session RETURNING r.* INTO f;
        UPDATE sessions x SET refreshed_at = t WHERE x.id = p_session;
        outcome := 'ok';
    ELSIF outcome = 'reused' THEN
        PERFORM auth_end_sessions(s.user_id, p_session, 'local', 'token_reuse');
        INSERT INTO audit (actor, action, target, detail) VALUES ('gateway', 'auth.token_reuse',
            'session/' || p_session, jsonb_build_object('presented', p_counter, 'active', f.counter));
    END IF;
    RETURN QUERY SELECT outcome, s.user_id, f.counter, s.method,
        extract(epoch FROM s.created_at)::bigint;
END
$$;
