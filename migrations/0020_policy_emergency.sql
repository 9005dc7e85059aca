-- An emergency lays aside what was in force for a time and gives it back: emergency-open brings the policy from before
-- the emergency, with its own end, and not the one that would come after it. And one that was opened by the gateway that
-- had closed it is opened also where the database had got the closing, but the gateway never heard so.

ALTER TABLE policy_pending DROP CONSTRAINT policy_pending_kind_check;
ALTER TABLE policy_pending ADD CONSTRAINT policy_pending_kind_check
    CHECK (kind IN ('set', 'revert', 'held')); -- held: a revert laid aside while an emergency is in force
-- revert, held: the version by which the change came into force first. It stays through an emergency, and whoever made
-- the change knows it by this.
ALTER TABLE policy_pending ADD COLUMN began bigint REFERENCES policy_versions;
UPDATE policy_pending SET began = version WHERE kind = 'revert';

CREATE OR REPLACE FUNCTION policy_change(p_name text, p_state text, p_document json, p_notice jsonb, p_reason text,
                                         p_actor text, p_request_id text, p_if_version bigint, p_action text,
                                         p_until timestamptz)
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
    -- beneath an emergency over a change for a time: what was before that
    SELECT w.back_to INTO base FROM policy_pending w WHERE w.kind IN ('held', 'revert')
        ORDER BY (w.kind = 'held') DESC LIMIT 1;
    DELETE FROM policy_pending w WHERE w.kind IN ('held', 'revert');
    SELECT max(v.version) + 1 INTO STRICT new FROM policy_versions v;
    INSERT INTO policy_versions (version, name, state, document, notice, reason, actor)
        VALUES (new, p_name, p_state, p_document, p_notice, p_reason, p_actor);
    UPDATE policy_current SET version = new;
    IF p_until IS NOT NULL THEN
        INSERT INTO policy_pending (kind, due_at, actor, reason, version, began, back_to)
            VALUES ('revert', p_until, p_actor, p_reason, new, new, coalesce(base, old));
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

-- As before, and with an emergency what it has laid aside is in force again until its own end: due already, it ends
-- with the next policy_run_due.
CREATE OR REPLACE FUNCTION policy_end(p_version bigint, p_reason text, p_actor text, p_request_id text, p_action text)
RETURNS TABLE (version bigint, previous bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
    back policy_versions;
    held policy_pending;
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
    SELECT w.* INTO held FROM policy_pending w WHERE w.kind = 'held';
    RETURN QUERY SELECT * FROM policy_change(back.name, back.state, back.document, back.notice, p_reason, p_actor,
                                             p_request_id, current, p_action, held.due_at);
    UPDATE policy_pending w SET actor = held.actor, reason = held.reason, began = held.began
        WHERE w.kind = 'revert' AND held.id IS NOT NULL;
END
$$;

-- What an emergency has laid aside ends meanwhile: the emergency goes back to what was before it.
CREATE FUNCTION policy_end_held(p_began bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    base bigint;
BEGIN
    PERFORM FROM policy_current c FOR UPDATE;
    DELETE FROM policy_pending w WHERE w.kind = 'held' AND w.began = p_began RETURNING w.back_to INTO base;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'policy_conflict: the policy has just changed' USING ERRCODE = 'TG002';
    END IF;
    UPDATE policy_pending w SET back_to = base WHERE w.is_emergency;
END
$$;
GRANT EXECUTE ON FUNCTION policy_end_held(bigint) TO tidegate_app;

-- As before, also where an emergency lies over what lies over the stage.
CREATE OR REPLACE FUNCTION policy_ramp_uncover(p_ramp bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM policy_current c FOR UPDATE;
    UPDATE policy_pending w SET back_to = r.base
        FROM policy_ramps r JOIN policy_versions stage ON stage.version = r.version, policy_versions back
        WHERE r.id = p_ramp AND w.kind IN ('revert', 'held') AND back.version = w.back_to
          AND back.document::text = stage.document::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'policy_conflict: the policy has just changed' USING ERRCODE = 'TG002';
    END IF;
END
$$;

-- As before, but it goes back to what is in force now, and lays its end aside. An emergency beside another has no
-- version: it is not in force by it.
CREATE OR REPLACE FUNCTION policy_emergency_close(p_id uuid, p_closed_at timestamptz, p_name text, p_state text,
                                                  p_document json, p_notice jsonb, p_reason text, p_actor text,
                                                  p_request_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
    closed bigint;
    held policy_pending;
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
        RETURN current;
    END IF;
    SELECT w.* INTO held FROM policy_pending w WHERE w.kind = 'revert' AND w.version = current;
    SELECT c.version INTO STRICT closed FROM policy_change(p_name, p_state, p_document, p_notice, p_reason, p_actor,
        p_request_id, current, 'policy.emergency_close', 'infinity') c;
    UPDATE policy_pending w SET is_emergency = true, back_to = current WHERE w.kind = 'revert';
    INSERT INTO policy_pending (kind, due_at, actor, reason, version, began, back_to)
        SELECT 'held', held.due_at, held.actor, held.reason, held.version, held.began, held.back_to
        WHERE held.id IS NOT NULL;
    UPDATE policy_emergencies e SET version = closed WHERE e.id = p_id;
    RETURN closed;
END
$$;

-- One that its gateway closed and opened again while the database was away: told to the audit log. Where the database
-- had got the closing before, and sign-up is closed by it, it is opened.
CREATE OR REPLACE FUNCTION policy_emergency_was(p_id uuid, p_closed_at timestamptz, p_actor text, p_reason text,
                                                p_opened_at timestamptz, p_opened_by text, p_opened_reason text)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM policy_current c FOR UPDATE;
    INSERT INTO policy_emergencies (id, closed_at, actor, reason) VALUES (p_id, p_closed_at, p_actor, p_reason)
        ON CONFLICT (id) DO NOTHING;
    IF FOUND THEN
        INSERT INTO audit (actor, action, target, reason, detail) VALUES
            (p_actor, 'policy.emergency_close', 'policy-emergency/' || p_id, p_reason,
             jsonb_build_object('closed_at', p_closed_at)),
            (p_opened_by, 'policy.emergency_open', 'policy-emergency/' || p_id, p_opened_reason,
             jsonb_build_object('opened_at', p_opened_at));
    ELSIF EXISTS (SELECT FROM policy_emergencies e JOIN policy_pending w ON w.version = e.version
                  WHERE e.id = p_id AND w.is_emergency) THEN
        PERFORM policy_end(0, p_opened_reason, p_opened_by, '', 'policy.emergency_open');
    END IF;
END
$$;
