-- Who gives a place up tells nobody: a ticket that had a row and one that had none, because its number had an account or a
-- place, looked alike until it was given up, and then somebody else's position moved by one or did not. A place that was
-- left counts on until the line has passed it, as if somebody waited there.

LOCK TABLE waitlist, waitlist_state IN ACCESS EXCLUSIVE MODE;

CREATE TABLE waitlist_left (
    seq        bigint PRIMARY KEY,
    expires_at timestamptz NOT NULL -- of the place
);

ALTER TABLE waitlist_state ADD COLUMN waiting bigint NOT NULL DEFAULT 0; -- people, as last counted: without places left
UPDATE waitlist_state SET waiting = coalesce((SELECT sum(b.waiting) FROM waitlist_blocks b), 0);

-- As before, but the place of somebody who waited stays in the line.
CREATE OR REPLACE FUNCTION waitlist_leave(p_id uuid, p_seq bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    place waitlist;
BEGIN
    DELETE FROM waitlist w
        WHERE w.id = p_id AND w.seq = p_seq AND w.state IN ('waiting', 'released') AND NOT w.named_again
        RETURNING w.* INTO place;
    IF place.state = 'waiting' THEN
        INSERT INTO waitlist_left (seq, expires_at) VALUES (place.seq, place.expires_at);
    END IF;
    RETURN place.id IS NOT NULL;
END
$$;

-- The first place in which somebody waits, or has left since the line last passed it. NULL: there is none.
CREATE FUNCTION waitlist_first() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT least((SELECT min(w.seq) FROM waitlist w WHERE w.state = 'waiting'), (SELECT min(l.seq) FROM waitlist_left l))
$$;

-- As before; places left go with those that are released.
CREATE OR REPLACE FUNCTION waitlist_release(p_count bigint, p_country text, p_joined_before timestamptz, p_ttl interval,
                                            p_actor text, p_reason text, p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    n bigint;
    last bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a release wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tidegate waitlist_release'));
    PERFORM FROM waitlist_state FOR UPDATE; -- first, as waitlist_tend: who has it may wait for places left
    WITH let_in AS (
        UPDATE waitlist w SET state = 'released', released_at = now(), expires_at = now() + p_ttl,
            message_id = gen_random_uuid(), notify_at = now(), notify_tries = 0, notified_at = NULL
        FROM (SELECT c.id FROM waitlist c
              WHERE c.state = 'waiting' AND c.expires_at > now() AND (p_country IS NULL OR c.country = p_country)
                AND (p_joined_before IS NULL OR c.joined_at < p_joined_before)
              ORDER BY c.seq LIMIT p_count FOR UPDATE SKIP LOCKED) chosen
        WHERE w.id = chosen.id RETURNING w.seq
    )
    SELECT count(*), max(l.seq) INTO n, last FROM let_in l;
    DELETE FROM waitlist_left l WHERE l.seq <= last;
    UPDATE waitlist_state SET passed = greatest(passed, last), tended_at = '-infinity', -- counted again at once
        head = waitlist_first();
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'waitlist.release', 'waitlist', p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('asked', p_count, 'released', n, 'country', p_country, 'joined_before', p_joined_before,
                                   'expires_at', now() + p_ttl));
    RETURN n;
END
$$;

-- As before; places left go with those that expire, or when they would have expired, and count in their blocks till then.
CREATE OR REPLACE FUNCTION waitlist_tend(p_every interval, p_rows integer)
RETURNS TABLE (waiting bigint, released bigint, expired bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    ended bigint := 0;
    last bigint;
BEGIN
    PERFORM 1 FROM waitlist_state s WHERE s.tended_at <= clock_timestamp() - p_every FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        WITH over AS (
            UPDATE waitlist w SET state = 'expired', notify_at = NULL FROM (
                SELECT e.id FROM waitlist e WHERE e.state IN ('waiting', 'released') AND e.expires_at <= now()
                LIMIT p_rows FOR UPDATE SKIP LOCKED) old WHERE w.id = old.id RETURNING w.seq
        )
        SELECT count(*), max(o.seq) INTO ended, last FROM over o;
        SELECT greatest(last, max(l.seq)) INTO last FROM waitlist_left l WHERE l.expires_at <= now();
        DELETE FROM waitlist_left l WHERE l.seq <= last;
        DELETE FROM waitlist w USING (
            SELECT o.id FROM waitlist o WHERE o.state IN ('joined', 'expired') AND o.expires_at < now() - interval '30 days'
            LIMIT p_rows FOR UPDATE SKIP LOCKED) old WHERE w.id = old.id;
        UPDATE waitlist_state s SET tended_at = clock_timestamp(), passed = greatest(s.passed, last),
            head = waitlist_first(),
            counted = (SELECT q.last_value / 4096 FROM waitlist_seq q),
            released = (SELECT count(*) FROM waitlist r WHERE r.state = 'released');
        WITH places AS (
            SELECT w.seq FROM waitlist w WHERE w.state = 'waiting' UNION ALL SELECT l.seq FROM waitlist_left l
        ), counts AS (
            SELECT p.seq / 4096 AS block, count(*) AS n FROM places p GROUP BY 1
        ), gone AS (
            DELETE FROM waitlist_blocks b WHERE NOT EXISTS (SELECT FROM counts c WHERE c.block = b.block)
        )
        INSERT INTO waitlist_blocks AS b SELECT c.block, c.n FROM counts c
            ON CONFLICT (block) DO UPDATE SET waiting = excluded.waiting WHERE b.waiting <> excluded.waiting;
        UPDATE waitlist_state s SET waiting = coalesce((SELECT sum(b.waiting) FROM waitlist_blocks b), 0)
            - (SELECT count(*) FROM waitlist_left l);
    END IF;
    RETURN QUERY SELECT s.waiting, s.released, ended FROM waitlist_state s;
END
$$;
