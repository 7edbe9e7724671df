-- What may be used of each member, and how far the member comes on the way to the file. The markers are the channel's:
-- whether there is an address, the address, whether it is consented to, whether it is suppressed.
-- Inputs: audience_people, email_ended, phone_ended, ads_denied, suppressed_people. Grain: one row a member.
SELECT customer_id, segment, record_id, is_gone, email_may AND NOT email_stopped AS email_ok,
       sms_may AND NOT sms_stopped AS sms_ok, has_post AND NOT post_stopped AS post_ok,
       email_consent_at, email_consent_source, sms_consent_at,
       ads_granted, NOT is_gone AND /*has_address*/ AS with_address, /*address*/ AS address, /*consented*/ AS consented,
       /*stopped*/ AS stopped
FROM (
  SELECT p.customer_id, p.segment, p.record_id, p.is_gone, p.email_key, p.phone_key, p.has_post,
         p.email_key IS NOT NULL
           AND coalesce((p.email_status = 'subscribed' AND e.address IS NULL)
                        OR (p.email_status IN ('subscribed', 'unsubscribed') AND e.is_consented_again), false) AS email_may,
         p.phone_key IS NOT NULL
           AND coalesce((p.sms_status = 'subscribed' AND t.address IS NULL)
                        OR (p.sms_status IN ('subscribed', 'unsubscribed') AND t.is_consented_again), false) AS sms_may,
         coalesce(p.ads_consent = 'granted', false) AS ads_granted, p.ads_consent IS NULL AS ads_unknown,
         n.address IS NOT NULL OR o.address IS NOT NULL AS ads_denied,
         coalesce(s.email, false) AS email_stopped, coalesce(s.sms, false) AS sms_stopped,
         coalesce(s.ads, false) AS ads_stopped, coalesce(s.post, false) AS post_stopped,
         CASE WHEN p.email_status = 'subscribed' THEN p.email_consent_at ELSE e.consented_at END AS email_consent_at,
         CASE WHEN p.email_status = 'subscribed' THEN p.email_consent_source END AS email_consent_source,
         CASE WHEN p.sms_status = 'subscribed' THEN p.sms_consent_at ELSE t.consented_at END AS sms_consent_at
  FROM suppressed_people s
  RIGHT JOIN (
    ads_denied o
    RIGHT JOIN (
      ads_denied n
      RIGHT JOIN (
        phone_ended t
        RIGHT JOIN (email_ended e RIGHT JOIN audience_people p ON e.address = p.email_key) ON t.address = p.phone_key
      ) ON n.address = p.email_key
    ) ON o.address = p.phone_key
  ) ON s.customer_id = p.customer_id
)
