-- Changes of the policy that happen later, by themselves: what was set for a time goes back, what was scheduled comes
-- into force. Whoever runs policy_run_due() when the time has come carries them out; the row of the policy in force is
-- the lock, the time is this server's, so a change happens once, and also when every gateway was away meanwhile.

ALTER TABLE policy_versions ADD COLUMN notice jsonb; -- what the public is told while it is in force
UPDATE policy_versions v SET notice = coalesce(
    (SELECT n.body - 'policy_version' FROM status_notices n
     WHERE n.kind = 'signup_policy' AND n.body ->> 'policy_version' = v.version::text ORDER BY n.id DESC LIMIT 1),
    jsonb_build_object('policy', v.name, 'state', v.state, 'messages', '{}'::jsonb));
ALTER TABLE policy_versions ALTER COLUMN notice SET NOT NULL;

CREATE TABLE policy_pending (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('set', 'revert')),
    due_at       timestamptz NOT NULL, -- revert: infinity when somebody has to end it
    until        timestamptz,          -- set: when it goes back again; NULL: it stays
    actor        text NOT NULL,
    reason       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    -- set: the document, as policy_set takes it
    name         text,
    state        text,
    document     json,
    notice       jsonb,
    -- revert: from the version that is in force for a time, to the one before it
    version      bigint REFERENCES policy_versions,
    back_to      bigint REFERENCES policy_versions,
    is_emergency boolean NOT NULL DEFAULT false,
    CHECK (CASE kind WHEN 'set' THEN document IS NOT NULL ELSE back_to IS NOT NULL END)
);
CREATE UNIQUE INDEX policy_pending_revert ON policy_pending (kind) WHERE kind = 'revert';
GRANT SELECT ON policy_pending TO tidegate_app;

-- Sign-ups closed in an emergency, each by the id that its gateway gave it: written once, however often it is tried.
CREATE TABLE policy_emergencies (
    id         uuid PRIMARY KEY,
    version    bigint REFERENCES policy_versions, -- in force by it; NULL: lifted before it was written
    closed_at  timestamptz NOT NULL,              -- by the gateway's clock
    written_at timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    reason     text NOT NULL
);
GRANT SELECT ON policy_emergencies TO tidegate_app;

-- Puts a document in force (checked by the caller, who holds the language), in one transaction with its audit row and
-- the public notice. Ends what was in force for a time: nothing pending goes back any more but this change itself,
-- with p_until (infinity: when policy_end says so), to what was in force before changes for a time.
-- TG002: p_if_version is not the current version.
CREATE FUNCTION policy_change(p_name text, p_state text, p_document json, p_notice jsonb, p_reason text, p_actor text,
                              p_request_id text, p_if_version bigint, p_action text, p_until timestamptz)
RETURNS TABLE (version bigint, previous bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    old bigint;
    new bigint;
    base bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a policy change wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    SELECT c.version INTO STRICT old FROM policy_current c FOR UPDATE;
    IF p_if_version <> 0 AND p_if_version <> old THEN
        RAISE EXCEPTION 'policy_conflict: version % is in force, not %', old, p_if_version
            USING ERRCODE = 'TG002';
    END IF;
    DELETE FROM policy_pending w WHERE w.kind = 'revert' RETURNING w.back_to INTO base;
    SELECT max(v.version) + 1 INTO STRICT new FROM policy_versions v;
    INSERT INTO policy_versions (version, name, state, document, notice, reason, actor)
        VALUES (new, p_name, p_state, p_document, p_notice, p_reason, p_actor);
    UPDATE policy_current SET version = new;
    IF p_until IS NOT NULL THEN
        INSERT INTO policy_pending (kind, due_at, actor, reason, version, back_to)
            VALUES ('revert', p_until, p_actor, p_reason, new, coalesce(base, old));
    END IF;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, p_action, 'policy/' || new, p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('name', p_name, 'previous', old)
                || CASE WHEN p_until IS NULL THEN '{}' ELSE jsonb_build_object('until', p_until) END);
    PERFORM status_publish_notice('signup_policy', p_notice || jsonb_build_object('policy_version', new), p_actor);
    PERFORM versions_bump('policy');
    RETURN QUERY SELECT new, old;
END
$$;
GRANT EXECUTE ON FUNCTION policy_change(text, text, json, jsonb, text, text, text, bigint, text, timestamptz)
    TO tidegate_app;

-- As before, for programs of before.
CREATE OR REPLACE FUNCTION policy_set(p_name text, p_state text, p_document json, p_notice jsonb, p_reason text,
                                      p_actor text, p_request_id text, p_if_version bigint, p_action text)
RETURNS TABLE (version bigint, previous bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT * FROM policy_change(p_name, p_state, p_document, p_notice, p_reason, p_actor, p_request_id, p_if_version,
                                p_action, NULL)
$$;

-- Ends what is in force for a time: the document from before comes back as a new version. TG002: nothing is in force
-- for a time, or another version than p_version (0: any).
CREATE FUNCTION policy_end(p_version bigint, p_reason text, p_actor text, p_request_id text, p_action text)
RETURNS TABLE (version bigint, previous bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
    back policy_versions;
BEGIN
    SELECT c.version INTO STRICT current FROM policy_current c FOR UPDATE;
    IF p_version <> 0 AND p_version <> current THEN
        RAISE EXCEPTION 'policy_conflict: version % is in force, not %', current, p_version USING ERRCODE = 'TG002';
    END IF;
    SELECT v.* INTO back FROM policy_pending w JOIN policy_versions v ON v.version = w.back_to
        WHERE w.kind = 'revert' AND w.version = current;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'policy_conflict: version % is in force, and not for a time', current USING ERRCODE = 'TG002';
    END IF;
    RETURN QUERY SELECT * FROM policy_change(back.name, back.state, back.document, back.notice, p_reason, p_actor,
                                             p_request_id, current, p_action, NULL);
END
$$;
GRANT EXECUTE ON FUNCTION policy_end(bigint, text, text, text, text) TO tidegate_app;

-- Carries out what is due, in the order of its times; returns how many. While sign-up is closed in an emergency,
-- scheduled changes wait: they come into force when it is lifted.
CREATE FUNCTION policy_run_due() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    p policy_pending;
    done integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM policy_pending w WHERE w.due_at <= now()) THEN
        RETURN 0; -- nearly always, and without a lock
    END IF;
    PERFORM FROM policy_current c FOR UPDATE;
    LOOP
        SELECT w.* INTO p FROM policy_pending w WHERE w.due_at <= now()
            AND NOT EXISTS (SELECT FROM policy_pending e WHERE e.is_emergency) ORDER BY w.due_at, w.id LIMIT 1;
        EXIT WHEN NOT FOUND;
        IF p.kind = 'revert' THEN
            PERFORM policy_end(0, 'expired', p.actor, '', 'policy.expire');
        ELSE
            DELETE FROM policy_pending w WHERE w.id = p.id;
            PERFORM policy_change(p.name, p.state, p.document, p.notice, p.reason, p.actor, '', 0, 'policy.scheduled',
                                  p.until);
        END IF;
        done := done + 1;
    END LOOP;
    RETURN done;
END
$$;
GRANT EXECUTE ON FUNCTION policy_run_due() TO tidegate_app;

-- A document that comes into force at a time. TG003: there are as many as may wait.
CREATE FUNCTION policy_schedule(p_name text, p_state text, p_document json, p_notice jsonb, p_reason text,
                                p_actor text, p_request_id text, p_due_at timestamptz, p_until timestamptz)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    new bigint;
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a policy change wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    PERFORM FROM policy_current c FOR UPDATE;
    IF p_due_at <= now() THEN
        RAISE EXCEPTION 'at: is past' USING ERRCODE = '22023';
    END IF;
    IF (SELECT count(*) >= 100 FROM policy_pending w WHERE w.kind = 'set') THEN
        RAISE EXCEPTION 'policy_conflict: 100 changes are scheduled, and no more may be' USING ERRCODE = 'TG003';
    END IF;
    INSERT INTO policy_pending (kind, due_at, until, actor, reason, name, state, document, notice)
        VALUES ('set', p_due_at, p_until, p_actor, p_reason, p_name, p_state, p_document, p_notice)
        RETURNING id INTO new;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'policy.schedule', 'policy-schedule/' || new, p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('name', p_name, 'at', p_due_at, 'until', p_until));
    RETURN new;
END
$$;
GRANT EXECUTE ON FUNCTION policy_schedule(text, text, json, jsonb, text, text, text, timestamptz, timestamptz)
    TO tidegate_app;

-- Takes a scheduled change back; false: there is none of that id (any more).
CREATE FUNCTION policy_unschedule(p_id bigint, p_reason text, p_actor text, p_request_id text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone policy_pending;
BEGIN
    PERFORM FROM policy_current c FOR UPDATE;
    DELETE FROM policy_pending w WHERE w.kind = 'set' AND w.id = p_id RETURNING w.* INTO gone;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, 'policy.unschedule', 'policy-schedule/' || p_id, p_reason, coalesce(p_request_id, ''),
                jsonb_build_object('name', gone.name, 'at', gone.due_at));
    RETURN true;
END
$$;
GRANT EXECUTE ON FUNCTION policy_unschedule(bigint, text, text, text) TO tidegate_app;

-- Sign-up closed in an emergency, until policy_end: by a gateway now, or while the database was away. The same id
-- again, or an emergency beside another, changes nothing more. Returns the version in force.
CREATE FUNCTION policy_emergency_close(p_id uuid, p_closed_at timestamptz, p_name text, p_state text, p_document json,
                                       p_notice jsonb, p_reason text, p_actor text, p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
BEGIN
    SELECT c.version INTO STRICT current FROM policy_current c FOR UPDATE;
    INSERT INTO policy_emergencies (id, closed_at, actor, reason) VALUES (p_id, p_closed_at, p_actor, p_reason)
        ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN current;
    END IF;
    IF EXISTS (SELECT FROM policy_pending w WHERE w.is_emergency) THEN
        INSERT INTO audit (actor, action, target, reason, request_id, detail)
            VALUES (p_actor, 'policy.emergency_close', 'policy/' || current, p_reason, coalesce(p_request_id, ''),
                    jsonb_build_object('id', p_id, 'closed_at', p_closed_at, 'already', true));
    ELSE
        SELECT c.version INTO STRICT current FROM policy_change(p_name, p_state, p_document, p_notice, p_reason,
            p_actor, p_request_id, 0, 'policy.emergency_close', 'infinity') c;
        UPDATE policy_pending w SET is_emergency = true WHERE w.kind = 'revert';
    END IF;
    UPDATE policy_emergencies e SET version = current WHERE e.id = p_id;
    RETURN current;
END
$$;
GRANT EXECUTE ON FUNCTION policy_emergency_close(uuid, timestamptz, text, text, json, jsonb, text, text, text)
    TO tidegate_app;

-- One that a gateway closed and opened again while the database was away: told to the audit log, nothing else.
CREATE FUNCTION policy_emergency_was(p_id uuid, p_closed_at timestamptz, p_actor text, p_reason text,
                                     p_opened_at timestamptz, p_opened_by text, p_opened_reason text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO policy_emergencies (id, closed_at, actor, reason) VALUES (p_id, p_closed_at, p_actor, p_reason)
        ON CONFLICT (id) DO NOTHING;
    IF FOUND THEN
        INSERT INTO audit (actor, action, target, reason, detail) VALUES
            (p_actor, 'policy.emergency_close', 'policy-emergency/' || p_id, p_reason,
             jsonb_build_object('closed_at', p_closed_at)),
            (p_opened_by, 'policy.emergency_open', 'policy-emergency/' || p_id, p_opened_reason,
             jsonb_build_object('opened_at', p_opened_at));
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION policy_emergency_was(uuid, timestamptz, text, text, timestamptz, text, text)
    TO tidegate_app;
