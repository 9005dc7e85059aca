-- Sign-ups hold the policy by a lock with a queue. The row's share lock had none: while sign-ups overlapped, a change of the
-- policy never got its turn, and a flood of sign-ups is when it is wanted. A change now waits for those that run, and those
-- that come meanwhile wait for it.
--
-- Changes take turns by the row of policy_current, as before, and then take this lock, last; sign-ups take this lock first,
-- and never the row. So none waits for another in a ring.

LOCK TABLE policy_current IN EXCLUSIVE MODE; -- nobody holds the row by the old functions when these come into force

-- As before: the only INSERT into users. p_policy is in force until the account is committed, else policy_stale (TG001).
CREATE OR REPLACE FUNCTION auth_create_user(p_policy bigint, p_rule text, p_method text, p_country text, p_user uuid,
                                            p_identity uuid, p_subject_hash bytea, p_subject_key text,
                                            p_subject_enc bytea, p_invite uuid)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    current bigint;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('tidegate policy'));
    SELECT c.version INTO STRICT current FROM policy_current c; -- by a snapshot of after the lock
    IF p_policy IS DISTINCT FROM current THEN
        RAISE EXCEPTION 'policy_stale: version % is in force, not %', current, p_policy USING ERRCODE = 'TG001';
    END IF;
    IF p_invite IS NOT NULL THEN
        UPDATE invites SET uses = uses + 1
            WHERE id = p_invite AND uses < max_uses AND revoked_at IS NULL
              AND (expires_at IS NULL OR expires_at > clock_timestamp());
        IF NOT FOUND THEN
            RAISE EXCEPTION 'invite_spent: % lets nobody in any more', p_invite USING ERRCODE = 'TG003';
        END IF;
    END IF;
    INSERT INTO users (id, policy_version, policy_rule, signup_method, signup_country, invite_id)
        VALUES (p_user, p_policy, p_rule, p_method, p_country, p_invite);
    INSERT INTO identities (id, user_id, provider, subject_hash, subject_key, subject_enc)
        VALUES (p_identity, p_user, p_method, p_subject_hash, p_subject_key, p_subject_enc);
END
$$;

-- As before; the lock keeps the accounts out that were decided under the version before.
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
    PERFORM pg_advisory_xact_lock(hashtext('tidegate policy'));
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
