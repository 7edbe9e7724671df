-- Whom an order without customer_id makes a guest: the id under which the guest is published.
-- Inputs: person_orders. Grain: one row an address.
SELECT guest_id(contact) AS customer_id, email, phone
FROM (SELECT DISTINCT contact, email, phone FROM person_orders WHERE customer_id IS NULL AND contact IS NOT NULL)
