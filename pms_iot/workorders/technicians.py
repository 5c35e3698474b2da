"""The people who repair, as a site file names them."""

import secrets
from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session, select

from pms_iot.assets.sitefile import CertificateEntry, TechnicianEntry
from pms_iot.kernel.auth import create_account
from pms_iot.kernel.users import Account, Role
from pms_iot.workorders.tables import Certificate, Technician


def apply_technicians(
    session: Session, entries: Iterable[TechnicianEntry], now: datetime
) -> dict[str, str]:
    """Creates and updates technicians with their accounts and certificates; deletes nothing.

    Returns user name -> password of the accounts created just now. Nobody else ever sees them:
    show them once, do not log them.
    """
    passwords: dict[str, str] = {}
    for entry in entries:
        query = select(Account).where(Account.username == entry.username)
        account = session.exec(query).one_or_none()
        if account is None:
            passwords[entry.username] = secrets.token_urlsafe(9)
            account = _account(session, entry, passwords[entry.username], now)
        technician = _technician(session, entry, account)
        for certificate in entry.certificates:
            _certify(session, technician, certificate)
    session.flush()
    return passwords


def _account(session: Session, entry: TechnicianEntry, password: str, now: datetime) -> Account:
    return create_account(
        session,
        username=entry.username,
        password=password,
        role=Role.TECHNICIAN,
        now=now,
        display_name=entry.name,
    )


def _technician(session: Session, entry: TechnicianEntry, account: Account) -> Technician:
    query = select(Technician).where(Technician.user_id == account.id)
    technician = session.exec(query).one_or_none()
    technician = technician or Technician(user_id=account.id, name=entry.name)
    technician.name, technician.skills = entry.name, list(entry.skills)
    session.add(technician)
    session.flush()
    return technician


def _certify(session: Session, technician: Technician, entry: CertificateEntry) -> None:
    """A certificate is known by its code and number; a renewal changes its validity."""
    assert technician.id is not None
    query = select(Certificate).where(
        Certificate.technician_id == technician.id,
        Certificate.code == entry.code,
        Certificate.number == entry.number,
    )
    row = session.exec(query).first()
    row = row or Certificate(technician_id=technician.id, code=entry.code, number=entry.number)
    row.valid_from, row.valid_until = entry.valid_from, entry.valid_until
    session.add(row)
