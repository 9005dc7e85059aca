-- What the waiting list shows to somebody who joins says nothing about a number, also not by how it moves: a join draws a
-- place whether the number gets it or not, so positions are counted in places near the end and by proportion farther
-- ahead, never in rows between two places. And a place goes only by a ticket that nobody else can have been meant by.

LOCK TABLE waitlist, waitlist_state IN ACCESS EXCLUSIVE MODE; -- in the order of those who join meanwhile

ALTER TABLE waitlist_state ADD COLUMN passed bigint NOT NULL DEFAULT 0; -- no place after this one was released or expired
ALTER TABLE waitlist_state ADD COLUMN head bigint; -- the first place in which somebody waits, as last counted; NULL: nobody
SELECT nextval('waitlist_seq'); -- last_value is the last place from here on, also where nobody has ever joined
UPDATE waitlist_state SET head = (SELECT min(w.seq) FROM waitlist w WHERE w.state = 'waiting');
UPDATE waitlist_state SET passed = coalesce(head - 1, (SELECT q.last_value FROM waitlist_seq q));

-- The number was named again since it got its place. Numbers need no proof, so it may be the first ticket that is a stranger's.
ALTER TABLE waitlist ADD COLUMN named_again boolean NOT NULL DEFAULT false;

-- About how many wait before this place: those in counted blocks before its own, and its share of its own block. At the
-- end, in no counted block yet, every place after the head counts, also of numbers that got none and of people who have
-- left. The head moves on when places are released or expire.
CREATE OR REPLACE FUNCTION waitlist_ahead(p_seq bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    s waitlist_state;
    own bigint; -- its block
    begins bigint;
    places bigint;
    here bigint;
BEGIN
    SELECT * INTO STRICT s FROM waitlist_state;
    own := least(p_seq / 4096, s.counted);
    begins := greatest(own * 4096, least(s.passed + 1, s.head));
    places := greatest(0, p_seq - begins);
    IF own < s.counted AND places > 0 THEN
        SELECT b.waiting INTO here FROM waitlist_blocks b WHERE b.block = own;
        places := coalesce(here, 0) * places / ((own + 1) * 4096 - begins);
    END IF;
    RETURN places + coalesce((SELECT sum(b.waiting) FROM waitlist_blocks b WHERE b.block < own), 0);
END
$$;

-- A place at the end, unless the number has one or has been released (its row then stays, and knows that it was named).
CREATE OR REPLACE FUNCTION waitlist_join(p_id uuid, p_hash bytea, p_key text, p_enc bytea, p_country text, p_lang text,
                                         p_ttl interval, p_seq bigint)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO waitlist AS w (id, seq, subject_hash, subject_key, subject_enc, country, lang, expires_at)
        VALUES (p_id, p_seq, p_hash, p_key, p_enc, p_country, p_lang, now() + p_ttl)
    ON CONFLICT (subject_hash) DO UPDATE SET id = excluded.id, seq = excluded.seq, state = 'waiting',
        subject_key = excluded.subject_key, subject_enc = excluded.subject_enc, lang = excluded.lang, joined_at = now(),
        expires_at = excluded.expires_at, released_at = NULL, message_id = NULL, notify_at = NULL, notify_tries = 0,
        notified_at = NULL, named_again = false
        WHERE w.state IN ('joined', 'expired') OR w.expires_at <= now();
    IF NOT FOUND THEN
        UPDATE waitlist w SET named_again = true WHERE w.subject_hash = p_hash AND NOT w.named_again;
        RETURN false;
    END IF;
    RETURN true;
END
$$;

-- Somebody joined with a number that has this place.
CREATE FUNCTION waitlist_name_again(p_id uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE waitlist w SET named_again = true WHERE w.id = p_id AND NOT w.named_again
$$;
GRANT EXECUTE ON FUNCTION waitlist_name_again(uuid) TO tidegate_app;

-- As before, but a number that was named again keeps its place: who joined later counts on it.
CREATE OR REPLACE FUNCTION waitlist_leave(p_id uuid, p_seq bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM waitlist w
        WHERE w.id = p_id AND w.seq = p_seq AND w.state IN ('waiting', 'released') AND NOT w.named_again;
    RETURN FOUND;
END
$$;

-- As before, and remembers how far the line has passed.
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
    UPDATE waitlist_state SET passed = greatest(passed, last), tended_at = '-infinity', -- counted again at once
        head = (SELECT min(w.seq) FROM waitlist w WHERE w.state = 'waiting');
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'waitlist.release', 'waitlist', p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('asked', p_count, 'released', n, 'country', p_country, 'joined_before', p_joined_before,
                                   'expires_at', now() + p_ttl));
    RETURN n;
END
$$;

-- As before, and likewise.
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
        DELETE FROM waitlist w USING (
            SELECT o.id FROM waitlist o WHERE o.state IN ('joined', 'expired') AND o.expires_at < now() - interval '30 days'
            LIMIT p_rows FOR UPDATE SKIP LOCKED) old WHERE w.id = old.id;
        UPDATE waitlist_state s SET tended_at = clock_timestamp(), passed = greatest(s.passed, last),
            head = (SELECT min(h.seq) FROM waitlist h WHERE h.state = 'waiting'),
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
