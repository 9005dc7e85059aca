-- Which numbers have got an account lately, by transaction. Every gateway keeps a filter of all numbers that have one
-- (auth/known_filter.h) and learns here what its last look could not see (auth/known_feed.h).
--
-- Both tables are unlogged: after whatever may take transactions back, and give their ids to others (a crash, a standby that takes
-- over, a backup that is restored), they are empty, the epoch is a new one, and each gateway loads its filter anew.

CREATE UNLOGGED TABLE account_feed (
    xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
    subject_hash bytea NOT NULL -- as in identities
);
CREATE INDEX account_feed_xid ON account_feed (xid);

CREATE UNLOGGED TABLE account_feed_state (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch       uuid NOT NULL DEFAULT gen_random_uuid(),
    purged      xid8 NOT NULL DEFAULT '0', -- rows of transactions before this one may be gone
    next_purged xid8 NOT NULL DEFAULT pg_snapshot_xmin(pg_current_snapshot()),
    turned_at   timestamptz NOT NULL DEFAULT clock_timestamp() -- when next_purged was taken
);
GRANT SELECT ON account_feed, account_feed_state TO tidegate_app;

-- Whatever writes accounts: the functions, an import, a change of number.
CREATE FUNCTION account_feed_note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO account_feed (subject_hash) VALUES (NEW.subject_hash);
    RETURN NULL;
END
$$;
CREATE TRIGGER account_feed_note AFTER INSERT OR UPDATE OF subject_hash ON identities
    FOR EACH ROW EXECUTE FUNCTION account_feed_note();
ALTER TABLE identities ENABLE ALWAYS TRIGGER account_feed_note; -- replication's writes too

-- Begins the feed where there is none, and deletes at most p_rows of what is 10 to 20 minutes old. A gateway that was away for
-- longer sees it by `purged`.
CREATE FUNCTION account_feed_tend(p_rows integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO account_feed_state DEFAULT VALUES ON CONFLICT DO NOTHING;
    UPDATE account_feed_state SET purged = next_purged, next_purged = pg_snapshot_xmin(pg_current_snapshot()),
        turned_at = clock_timestamp()
    WHERE turned_at < clock_timestamp() - interval '10 minutes';
    DELETE FROM account_feed WHERE ctid = ANY (ARRAY(
        SELECT f.ctid FROM account_feed f WHERE f.xid < (SELECT s.purged FROM account_feed_state s) LIMIT p_rows));
END
$$;
GRANT EXECUTE ON FUNCTION account_feed_tend(integer) TO tidegate_app;
SELECT account_feed_tend(0);
