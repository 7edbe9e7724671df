-- Everybody who exists before the cutoff: landed customers (merged ones as the one they were merged into), customers that
-- only orders name, and guests; `left_out` says why somebody is not in the profile.
-- Inputs: landed_customers, merged, order_people, guest_contacts, excluded. Grain: one row a person.
-- Joins name the narrow side first: it is the one that is held in memory.
-- As of: the winning version of the day; a person exists from the earlier of created_at and the first order, and who was
-- merged exists since then too. A created_at that is yet to come is as good as missing.
WITH heirs AS (
  SELECT m.id, m.root FROM merged m LEFT ANTI JOIN landed_customers l ON l.customer_id = m.root WHERE m.heir = 1
),
landed AS (
  SELECT l.customer_id, l.* EXCEPT (customer_id) FROM merged m RIGHT ANTI JOIN landed_customers l ON m.id = l.customer_id
  UNION ALL
  SELECT h.root AS customer_id, l.* EXCEPT (customer_id) FROM heirs h JOIN landed_customers l ON h.id = l.customer_id
)
SELECT coalesce(c.customer_id, o.customer_id) AS customer_id,
       CASE WHEN c.deleted_at < $cutoff THEN 'deleted' WHEN x.customer_id IS NOT NULL THEN 'excluded' END AS left_out,
       coalesce(CASE WHEN c.created_at < $cutoff THEN c.created_at END, o.first_order_at,
                CASE WHEN c._since_at < $cutoff THEN c._since_at END, m.since_at) AS created_at,
       o.last_open_order_at, c.customer_id IS NOT NULL AS is_landed,
       c.store, c.gender, c.birthday, c.language, c.country, c.region, c.city, c.registration_source, c.membership,
       coalesce(c.tags, make_array()) AS tags, coalesce(c.lists, make_array()) AS lists,
       c.email_consent, c.email_consent_at, c.email_consent_source, c.email_opt_in, c.email_subscribed_at,
       c.sms_consent, c.sms_consent_at, c.sms_subscribed_at, c.ads_consent, c.email_valid, c.phone_valid,
       c.name, c.first_name, c.last_name, coalesce(c.email, g.email) AS email, coalesce(c.phone, g.phone) AS phone,
       c.address, c.postal_code, c.latitude, c.longitude, c._version /*properties*/
FROM excluded x
RIGHT JOIN (
  guest_contacts g
  RIGHT JOIN (
    (SELECT root, since_at FROM merged WHERE heir = 1) m
    RIGHT JOIN (
      order_people o
      FULL JOIN (
        SELECT *, coalesce(created_at, email_subscribed_at, email_consent_at, _version, $first_landed) AS _since_at FROM landed
      ) c ON c.customer_id = o.customer_id
    ) ON m.root = c.customer_id
  ) ON g.customer_id = o.customer_id
) ON x.customer_id = c.customer_id
WHERE o.first_order_at IS NOT NULL OR c._since_at IS NULL OR c._since_at < $cutoff OR m.since_at < $cutoff
