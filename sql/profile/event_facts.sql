-- Daily facts of events: by customer, local day and kind, for carts also by product. Only what the profile asks for by the
-- day keeps its day: views, opens and clicks of the longest window (90 days). All else is merged into one row a kind, and
-- facts of other days merge the same way (n adds up, the later last_at stays).
-- Inputs: landed_events, who. Grain: customer_no, fact_on, kind, cart_product (null for all but carts).
-- As of: events from the cutoff on are not in the input. customer_no -1 counts the events of people who are left out, -2
-- those of visitors who were never linked.
SELECT customer_no, CASE WHEN kind IN (1, 2, 3, 4) THEN local_date(occurred_at, $zone) END AS fact_on, kind,
       CASE WHEN kind IN (6, 7) THEN coalesce(product_id, '') END AS cart_product,
       count(*) AS n, max(occurred_at) AS last_at
FROM (
  SELECT coalesce(w.customer_no, -2) AS customer_no, e.occurred_at, e.product_id,
         CASE WHEN w.customer_no IS NULL THEN 0 ELSE
         CASE e.type
           WHEN 'page_viewed' THEN CASE WHEN e.occurred_at >= $window_start THEN 1 ELSE 5 END
           WHEN 'product_viewed' THEN CASE WHEN e.occurred_at >= $window_start THEN 2 ELSE 5 END
           WHEN 'email_opened' THEN CASE WHEN e.machine IS NOT TRUE AND e.occurred_at >= $window_start THEN 3 ELSE 0 END
           WHEN 'email_clicked' THEN CASE WHEN e.machine IS NOT TRUE AND e.occurred_at >= $window_start THEN 4 ELSE 0 END
           WHEN 'category_viewed' THEN 5
           WHEN 'searched' THEN 5
           WHEN 'added_to_cart' THEN 6
           WHEN 'removed_from_cart' THEN 7
           WHEN 'checkout_started' THEN 8
           WHEN 'email_unsubscribed' THEN 9
           WHEN 'email_marked_as_spam' THEN 9
           WHEN 'email_bounced' THEN CASE WHEN e.bounce = 'hard' THEN 10 ELSE 0 END
           WHEN 'review_submitted' THEN CASE WHEN e.rating <= 3 THEN 11 ELSE 0 END
           WHEN 'subscription_started' THEN 12
           WHEN 'subscription_cancelled' THEN 13
           ELSE 0
         END END AS kind
  FROM who w
  RIGHT JOIN landed_events e ON w.id = coalesce(e.customer_id, e.anonymous_id)
)
GROUP BY customer_no, fact_on, kind, cart_product
