-- Sessions, their refresh tokens, and the list of sessions that ended while an access token may still live.

CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL, -- absolute, whatever is refreshed
    ended_at     timestamptz,
    end_reason   text,
    method       text NOT NULL,        -- amr: how it began
    device       text NOT NULL DEFAULT '',
    user_agent   text NOT NULL DEFAULT '',
    address      inet
);
CREATE INDEX sessions_user ON sessions (user_id) WHERE ended_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- A refresh token names its session and a counter; nothing of it is stored but how far the counter is.
CREATE TABLE refresh_families (
    session_id   uuid PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    counter      bigint NOT NULL DEFAULT 1,        -- of the active token
    rotated_at   timestamptz NOT NULL DEFAULT now(),
    is_confirmed boolean NOT NULL DEFAULT false    -- the client has shown that it holds the active one
) WITH (fillfactor = 70);

CREATE TABLE revocations (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id uuid NOT NULL,
    user_id    uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX revocations_created ON revocations (created_at);

GRANT SELECT, INSERT, UPDATE ON sessions, refresh_families TO tidegate_app;
GRANT SELECT ON revocations TO tidegate_app;

-- Ends one session, all of a user, or all but one; returns those that ended. p_scope: 'local' (p_session),
-- 'global' (all of p_user), 'others' (all of p_user but p_session).
CREATE FUNCTION auth_end_sessions(p_user uuid, p_session uuid, p_scope text, p_reason text)
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
        INSERT INTO revocations (session_id, user_id) SELECT unnest(ended), p_user;
        PERFORM versions_bump('revocations');
        RETURN QUERY SELECT unnest(ended);
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION auth_end_sessions(uuid, uuid, text, text) TO tidegate_app;

-- One refresh. The row's lock makes parallel ones queue up; the first rotates, the others find themselves the
-- parent. outcome:
--   ok          counter is that of the token to answer with (rotated, or the same successor again)
--   reused      an older token came back: the session has been ended here
--   ended       the session was ended before; expired: too old; banned: the user is; unknown: no such session
CREATE FUNCTION auth_refresh(p_session uuid, p_counter bigint, p_grace interval, p_idle interval)
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
        WHEN s.ended_at IS NOT NULL THEN 'ended'
        WHEN t >= s.expires_at OR t >= s.refreshed_at + p_idle THEN 'expired'
        WHEN banned > t THEN 'banned'
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
GRANT EXECUTE ON FUNCTION auth_refresh(uuid, bigint, interval, interval) TO tidegate_app;

-- Deletes what nobody can use any more, in bounded steps. Any process may call it at any time.
CREATE FUNCTION auth_purge(p_rows integer) RETURNS bigint
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
        SELECT id FROM revocations WHERE created_at < now() - interval '1 day'
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
GRANT EXECUTE ON FUNCTION auth_purge(integer) TO tidegate_app;
