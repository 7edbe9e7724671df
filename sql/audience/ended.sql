-- When events last ended a person's consent to e-mail: an unsubscription or a complaint, and a hard bounce.
-- Inputs: door_events (every landed event as it is read), roots. Grain: one row a person with such an event.
-- As of: the newest landed data; times that are yet to come are not in the input.
SELECT coalesce(r.root, e.id) AS person,
       max(e.occurred_at) FILTER (WHERE e.type <> 'email_bounced') AS unsubscribed_at,
       max(e.occurred_at) FILTER (WHERE e.type = 'email_bounced') AS bounced_at
FROM roots r
RIGHT JOIN (
  SELECT coalesce(customer_id, anonymous_id) AS id, type, occurred_at FROM door_events
  WHERE type IN ('email_unsubscribed', 'email_marked_as_spam') OR (type = 'email_bounced' AND bounce = 'hard')
) e ON r.id = e.id
GROUP BY coalesce(r.root, e.id)
