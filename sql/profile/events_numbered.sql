-- Every event with the number of its customer and what kind of fact it is to the profile (`_kind`, 0: none; the kinds are read
-- in event_facts.sql and cart_facts.sql), and the columns that the segments ask for.
-- Inputs: landed_events, who. Grain: one row an event. As of: events from the cutoff on are not in the input.
-- customer_no -1 has the events of people who are left out, -2 those of visitors who were never linked.
SELECT _no AS customer_no, occurred_at,
       CAST(CASE WHEN _no < 0 OR (_code IN (3, 4) AND machine) OR (_code = 10 AND bounce IS DISTINCT FROM 'hard')
              OR (_code = 11 AND (rating <= 3) IS NOT TRUE) THEN 0 ELSE _code END AS INT) AS _kind,
       CASE WHEN _code IN (6, 7) THEN product_id END AS _cart_product /*columns*/
FROM (
  SELECT coalesce(w.customer_no, -2) AS _no,
         CASE e.type
           WHEN 'page_viewed' THEN 1 WHEN 'product_viewed' THEN 2 WHEN 'email_opened' THEN 3 WHEN 'email_clicked' THEN 4
           WHEN 'category_viewed' THEN 5 WHEN 'searched' THEN 5 WHEN 'added_to_cart' THEN 6 WHEN 'removed_from_cart' THEN 7
           WHEN 'checkout_started' THEN 8 WHEN 'email_unsubscribed' THEN 9 WHEN 'email_marked_as_spam' THEN 9
           WHEN 'email_bounced' THEN 10 WHEN 'review_submitted' THEN 11 WHEN 'subscription_started' THEN 12
           WHEN 'subscription_cancelled' THEN 13 ELSE 0 END AS _code,
         e.*
  FROM who w
  RIGHT JOIN landed_events e ON w.id = coalesce(e.customer_id, e.anonymous_id)
)
