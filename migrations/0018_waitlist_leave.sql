-- Somebody who waits takes the place back. p_seq: as the ticket says; only the ticket that the place was given with has the
-- place's own, those of others who named the same number later have not.

CREATE FUNCTION waitlist_leave(p_id uuid, p_seq bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM waitlist w WHERE w.id = p_id AND w.seq = p_seq AND w.state IN ('waiting', 'released');
    RETURN FOUND;
END
$$;
GRANT EXECUTE ON FUNCTION waitlist_leave(uuid, bigint) TO tidegate_app;
