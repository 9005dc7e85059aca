-- Who is turned away, and who never is. Rows are marked when they are taken back, so that a gateway that read up to a
-- number learns of everything since by reading the rows with higher ones.

CREATE TABLE bans (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    effect     text NOT NULL CHECK (effect IN ('ban', 'allow')),
    target     text NOT NULL CHECK (length(target) BETWEEN 1 AND 140), -- canonical: '203.0.113.0/24', 'AS64500'
    until      timestamptz,                -- NULL: no end
    reason     text NOT NULL,
    actor      text NOT NULL,
    list       text NOT NULL DEFAULT '',   -- the imported list it came with
    created_at timestamptz NOT NULL DEFAULT now(),
    moved      bigint NOT NULL,            -- versions.bans of the transaction that changed it last
    removed_at timestamptz,
    hits       bigint NOT NULL DEFAULT 0,
    last_hit_at timestamptz,
    UNIQUE (effect, target)
);
CREATE INDEX bans_moved ON bans (moved);
GRANT SELECT ON bans TO tidegate_app;

-- The number of a change, taken before its rows are written: the row of versions stays locked until the end, so that
-- numbers become visible in their order.
CREATE FUNCTION bans_move() RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number bigint;
BEGIN
    PERFORM versions_bump('bans');
    SELECT v.bans INTO STRICT number FROM versions v;
    RETURN number;
END
$$;

-- Adds or renews entries: p_items is [{"target", "ttl_ms" (0: no end), "reason"}], targets canonical. An entry that is
-- there gets the new time and reason. TGB01: there would be more than p_most.
CREATE FUNCTION bans_put(p_effect text, p_items json, p_list text, p_reason text, p_actor text, p_request_id text,
                         p_most bigint)
RETURNS TABLE (added bigint, renewed bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number bigint;
    here bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a change of bans wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    number := bans_move();
    WITH items AS (
        SELECT DISTINCT ON (x.target) x.target, x.ttl_ms, coalesce(nullif(x.reason, ''), p_reason) AS why
        FROM json_to_recordset(p_items) AS x (target text, ttl_ms bigint, reason text) ORDER BY x.target
    ), known AS (
        SELECT b.target FROM bans b JOIN items i USING (target)
        WHERE b.effect = p_effect AND b.removed_at IS NULL AND (b.until IS NULL OR b.until > now())
    ), put AS (
        INSERT INTO bans AS b (effect, target, until, reason, actor, list, moved)
        SELECT p_effect, i.target, CASE WHEN i.ttl_ms > 0 THEN now() + i.ttl_ms * interval '1 millisecond' END,
               i.why, p_actor, p_list, number FROM items i
        ON CONFLICT (effect, target) DO UPDATE SET until = excluded.until, reason = excluded.reason,
            actor = excluded.actor, list = excluded.list, moved = excluded.moved, removed_at = NULL,
            created_at = CASE WHEN b.removed_at IS NULL THEN b.created_at ELSE now() END
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM put) - (SELECT count(*) FROM known), (SELECT count(*) FROM known)
        INTO added, renewed;
    SELECT count(*) INTO here FROM bans b WHERE b.removed_at IS NULL AND (b.until IS NULL OR b.until > now());
    IF here > p_most THEN
        RAISE EXCEPTION 'bans_full: there would be % entries, bans.most is %', here, p_most USING ERRCODE = 'TGB01';
    END IF;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        SELECT p_actor, p_effect || '.add', coalesce(nullif('list/' || p_list, 'list/'), 'bans'), p_reason,
               coalesce(p_request_id, ''),
               jsonb_build_object('added', added, 'renewed', renewed, 'targets', (SELECT jsonb_agg(t.target) FROM (
                   SELECT x.target FROM json_to_recordset(p_items) AS x (target text) LIMIT 20) t));
    RETURN NEXT;
END
$$;
GRANT EXECUTE ON FUNCTION bans_put(text, json, text, text, text, text, bigint) TO tidegate_app;

-- Takes back the targets named in p_targets (a JSON array), or with p_list all that came with that list.
CREATE FUNCTION bans_remove(p_effect text, p_targets json, p_list text, p_reason text, p_actor text,
                            p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number bigint;
    gone text[];
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a change of bans wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    number := bans_move();
    WITH put AS (
        UPDATE bans b SET removed_at = now(), moved = number
        WHERE b.effect = p_effect AND b.removed_at IS NULL AND (b.until IS NULL OR b.until > now())
          AND CASE WHEN p_list <> '' THEN b.list = p_list
                   ELSE b.target IN (SELECT json_array_elements_text(p_targets)) END
        RETURNING b.target
    )
    SELECT coalesce(array_agg(target), '{}') INTO gone FROM put;
    IF cardinality(gone) > 0 THEN
        INSERT INTO audit (actor, action, target, reason, request_id, detail)
            VALUES (p_actor, p_effect || '.remove', coalesce(nullif('list/' || p_list, 'list/'), 'bans'), p_reason,
                    coalesce(p_request_id, ''),
                    jsonb_build_object('removed', cardinality(gone), 'targets', gone[1:20]));
    END IF;
    RETURN cardinality(gone);
END
$$;
GRANT EXECUTE ON FUNCTION bans_remove(text, json, text, text, text, text) TO tidegate_app;

-- What gateways counted since they said it last: [{"id", "n"}]. Moves nothing.
CREATE FUNCTION bans_add_hits(p_hits json) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    UPDATE bans b SET hits = b.hits + h.n, last_hit_at = now()
    FROM (SELECT id, n FROM json_to_recordset(p_hits) AS x (id bigint, n bigint) ORDER BY id) h WHERE b.id = h.id
$$;
GRANT EXECUTE ON FUNCTION bans_add_hits(json) TO tidegate_app;

-- Deletes what ended or was taken back a day ago: gateways read everything anew after an hour without the database.
CREATE FUNCTION bans_purge(p_rows integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM bans WHERE id IN (
            SELECT id FROM bans WHERE least(until, removed_at) < now() - interval '1 day'
            LIMIT p_rows FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
GRANT EXECUTE ON FUNCTION bans_purge(integer) TO tidegate_app;
