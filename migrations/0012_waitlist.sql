-- The waiting list: who wants an account while the policy lets nobody, or few, make one. Numbers are kept as in
-- identities. A place is a number of the sequence; people stand in its order. Only the functions below write.

CREATE SEQUENCE waitlist_seq;
CREATE TABLE waitlist (
    id           uuid PRIMARY KEY,
    seq          bigint NOT NULL UNIQUE,
    state        text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'released', 'joined', 'expired')),
    subject_hash bytea NOT NULL UNIQUE CHECK (length(subject_hash) = 32),
    subject_key  text NOT NULL,
    subject_enc  bytea NOT NULL,
    country      text NOT NULL,
    lang         text NOT NULL,         -- of the message on release
    joined_at    timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,  -- of the place, later of the release
    released_at  timestamptz,
    message_id   uuid,                  -- of the message on release: the same for every try, also of another gateway
    notify_at    timestamptz,           -- when a gateway may next try to send it; NULL: there is nothing to send
    notify_tries integer NOT NULL DEFAULT 0,
    notified_at  timestamptz
) WITH (fillfactor = 85);
CREATE INDEX waitlist_line ON waitlist (seq) WHERE state = 'waiting';
CREATE INDEX waitlist_ends ON waitlist (expires_at) WHERE state IN ('waiting', 'released');
CREATE INDEX waitlist_over ON waitlist (expires_at) WHERE state IN ('joined', 'expired');
CREATE INDEX waitlist_in ON waitlist (released_at) WHERE state = 'released';
CREATE INDEX waitlist_notices ON waitlist (notify_at) WHERE notify_at IS NOT NULL;

-- How many wait in each block of 4096 places, as last counted: a position is a sum of these and a count within one
-- block, never of the whole list.
CREATE TABLE waitlist_blocks (
    block   bigint PRIMARY KEY,
    waiting bigint NOT NULL
);

-- One row. Its lock lets one gateway at a time tend the list or claim messages.
CREATE TABLE waitlist_state (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    tended_at   timestamptz NOT NULL DEFAULT '-infinity',
    counted     bigint NOT NULL DEFAULT 0, -- blocks below this one are in waitlist_blocks
    released    bigint NOT NULL DEFAULT 0, -- people who may come in now and have not yet
    noticed_at  timestamptz NOT NULL DEFAULT '-infinity' -- until when the pace of messages is used up
);
INSERT INTO waitlist_state DEFAULT VALUES;
GRANT SELECT ON waitlist, waitlist_blocks, waitlist_state TO tidegate_app;
GRANT SELECT, USAGE ON SEQUENCE waitlist_seq TO tidegate_app;

ALTER TABLE users ADD COLUMN waitlist_id uuid; -- the place that an account came from; rows of the list do not last

-- How many wait before this place; about as many as seconds ago where the place is thousands away.
CREATE FUNCTION waitlist_ahead(p_seq bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH edge AS (SELECT least(p_seq / 4096, s.counted) AS block FROM waitlist_state s)
    SELECT coalesce((SELECT sum(b.waiting) FROM waitlist_blocks b, edge WHERE b.block < edge.block), 0)::bigint
        + (SELECT count(*) FROM waitlist w
           WHERE w.state = 'waiting' AND w.seq >= (SELECT edge.block * 4096 FROM edge) AND w.seq < p_seq)
$$;
GRANT EXECUTE ON FUNCTION waitlist_ahead(bigint) TO tidegate_app;

-- A place at the end, unless the number has one or has been released (its row then stays as it is).
CREATE FUNCTION waitlist_join(p_id uuid, p_hash bytea, p_key text, p_enc bytea, p_country text, p_lang text,
                              p_ttl interval, p_seq bigint)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO waitlist AS w (id, seq, subject_hash, subject_key, subject_enc, country, lang, expires_at)
        VALUES (p_id, p_seq, p_hash, p_key, p_enc, p_country, p_lang, now() + p_ttl)
    ON CONFLICT (subject_hash) DO UPDATE SET id = excluded.id, seq = excluded.seq, state = 'waiting',
        subject_key = excluded.subject_key, subject_enc = excluded.subject_enc, lang = excluded.lang, joined_at = now(),
        expires_at = excluded.expires_at, released_at = NULL, message_id = NULL, notify_at = NULL, notify_tries = 0,
        notified_at = NULL
        WHERE w.state IN ('joined', 'expired') OR w.expires_at <= now();
    RETURN FOUND;
END
$$;
GRANT EXECUTE ON FUNCTION waitlist_join(uuid, bytea, text, bytea, text, text, interval, bigint) TO tidegate_app;

-- The first p_count who wait (of a country, or who joined before a time; NULL: whoever they are) may come in for p_ttl,
-- and are to be told. Two releases at once choose different people, in order.
CREATE FUNCTION waitlist_release(p_count bigint, p_country text, p_joined_before timestamptz, p_ttl interval,
                                 p_actor text, p_reason text, p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    n bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a release wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tidegate waitlist_release'));
    UPDATE waitlist w SET state = 'released', released_at = now(), expires_at = now() + p_ttl,
        message_id = gen_random_uuid(), notify_at = now(), notify_tries = 0, notified_at = NULL
    FROM (SELECT c.id FROM waitlist c
          WHERE c.state = 'waiting' AND c.expires_at > now() AND (p_country IS NULL OR c.country = p_country)
            AND (p_joined_before IS NULL OR c.joined_at < p_joined_before)
          ORDER BY c.seq LIMIT p_count FOR UPDATE SKIP LOCKED) chosen
    WHERE w.id = chosen.id;
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE waitlist_state SET tended_at = '-infinity'; -- counted again at once
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'waitlist.release', 'waitlist', p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('asked', p_count, 'released', n, 'country', p_country, 'joined_before', p_joined_before,
                                   'expires_at', now() + p_ttl));
    RETURN n;
END
$$;
GRANT EXECUTE ON FUNCTION waitlist_release(bigint, text, timestamptz, interval, text, text, text) TO tidegate_app;

-- Ends places and releases whose time is over, forgets old ones, counts. One gateway does it, at most every p_every;
-- all are told the numbers.
CREATE FUNCTION waitlist_tend(p_every interval, p_rows integer)
RETURNS TABLE (waiting bigint, released bigint, expired bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ended bigint := 0;
BEGIN
    PERFORM 1 FROM waitlist_state s WHERE s.tended_at <= clock_timestamp() - p_every FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE waitlist w SET state = 'expired', notify_at = NULL FROM (
            SELECT e.id FROM waitlist e WHERE e.state IN ('waiting', 'released') AND e.expires_at <= now()
            LIMIT p_rows FOR UPDATE SKIP LOCKED) old WHERE w.id = old.id;
        GET DIAGNOSTICS ended = ROW_COUNT;
        DELETE FROM waitlist w USING (
            SELECT o.id FROM waitlist o WHERE o.state IN ('joined', 'expired') AND o.expires_at < now() - interval '30 days'
            LIMIT p_rows FOR UPDATE SKIP LOCKED) old WHERE w.id = old.id;
        UPDATE waitlist_state s SET tended_at = clock_timestamp(),
            counted = (SELECT q.last_value / 4096 FROM waitlist_seq q),
            released = (SELECT count(*) FROM waitlist r WHERE r.state = 'released');
        WITH counts AS (
            SELECT w.seq / 4096 AS block, count(*) AS n FROM waitlist w WHERE w.state = 'waiting' GROUP BY 1
        ), gone AS (
            DELETE FROM waitlist_blocks b WHERE NOT EXISTS (SELECT FROM counts c WHERE c.block = b.block)
        )
        INSERT INTO waitlist_blocks AS b SELECT c.block, c.n FROM counts c
            ON CONFLICT (block) DO UPDATE SET waiting = excluded.waiting WHERE b.waiting <> excluded.waiting;
    END IF;
    RETURN QUERY SELECT coalesce((SELECT sum(b.waiting) FROM waitlist_blocks b), 0)::bigint, s.released, ended
        FROM waitlist_state s;
END
$$;
GRANT EXECUTE ON FUNCTION waitlist_tend(interval, integer) TO tidegate_app;

-- Messages that this gateway shall send now: at most p_most, and over all gateways p_per_minute. Each is the claimer's for
-- p_lease; when it says nothing by then (it died), another claims the same message under the same id.
CREATE FUNCTION waitlist_claim_notices(p_most bigint, p_per_minute bigint, p_lease interval)
RETURNS TABLE (id uuid, message_id uuid, subject_enc bytea, lang text, expires_s bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    each interval := interval '1 minute' / p_per_minute;
    t timestamptz := clock_timestamp();
    free_at timestamptz;
    n bigint;
BEGIN
    SELECT s.noticed_at INTO free_at FROM waitlist_state s FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN; -- another gateway is at it
    END IF;
    free_at := greatest(free_at, t - greatest(each, interval '2 seconds'));
    n := least(p_most, floor(extract(epoch FROM t - free_at) / extract(epoch FROM each))::bigint);
    IF n <= 0 THEN
        RETURN;
    END IF;
    RETURN QUERY UPDATE waitlist w SET notify_at = t + p_lease, notify_tries = w.notify_tries + 1 FROM (
            SELECT c.id FROM waitlist c
            WHERE c.notify_at <= t AND c.state = 'released' AND c.expires_at > t AND c.notify_tries < 8
            ORDER BY c.notify_at, c.seq LIMIT n FOR UPDATE SKIP LOCKED) chosen
        WHERE w.id = chosen.id
        RETURNING w.id, w.message_id, w.subject_enc, w.lang, extract(epoch FROM w.expires_at)::bigint;
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE waitlist_state SET noticed_at = free_at + n * each WHERE n > 0;
END
$$;
GRANT EXECUTE ON FUNCTION waitlist_claim_notices(bigint, bigint, interval) TO tidegate_app;

-- The provider took it, or did not: again in a while, unless p_tries have been made. True: it is settled.
CREATE FUNCTION waitlist_settle_notice(p_message uuid, p_sent boolean, p_tries integer) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE waitlist SET
        notified_at = CASE WHEN p_sent THEN clock_timestamp() END,
        notify_at = CASE WHEN NOT p_sent AND notify_tries < p_tries THEN clock_timestamp() + notify_tries * interval '30 seconds' END
    WHERE message_id = p_message AND notify_at IS NOT NULL
    RETURNING notify_at IS NULL
$$;
GRANT EXECUTE ON FUNCTION waitlist_settle_notice(uuid, boolean, integer) TO tidegate_app;

-- As before, and the person leaves the waiting list (p_waitlist; NULL: was not on it). p_is_released: the decision counted
-- on the release; when that is over: waitlist_moved (TG003), decide again.
CREATE FUNCTION auth_create_user(p_policy bigint, p_rule text, p_method text, p_country text, p_user uuid,
                                 p_identity uuid, p_subject_hash bytea, p_subject_key text,
                                 p_subject_enc bytea, p_invite uuid, p_waitlist uuid, p_is_released boolean)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM auth_create_user(p_policy, p_rule, p_method, p_country, p_user, p_identity, p_subject_hash, p_subject_key,
                             p_subject_enc, p_invite);
    IF p_waitlist IS NOT NULL THEN
        UPDATE waitlist SET state = 'joined', notify_at = NULL
            WHERE id = p_waitlist AND (NOT p_is_released OR (state = 'released' AND expires_at > clock_timestamp()));
        IF NOT FOUND AND p_is_released THEN
            RAISE EXCEPTION 'waitlist_moved: the release of % is over', p_waitlist USING ERRCODE = 'TG003';
        END IF;
        UPDATE users SET waitlist_id = p_waitlist WHERE id = p_user;
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION auth_create_user(bigint, text, text, text, uuid, uuid, bytea, text, bytea, uuid, uuid, boolean)
    TO tidegate_app;
